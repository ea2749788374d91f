"""Faces become square clips that show exactly the frames and the part of the picture that the row says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from skimage import data

from fye_model.config import ClipConfig, IngestConfig
from tasks.clips import CLIPS, ClipsRow, CutClip
from tasks.engine.items import NOTHING, Quarantine
from tasks.faces.landmarker import LandmarkerAsset
from tasks.ingest import normalise
from tasks.media.read import probe, read_frames, write_video
from tests.tasks.support import work_on
from tests.tasks.videos import click, click_time, encode

SMALL = ClipConfig(size=128, min_frames=8)
Run = Callable[..., tuple[ClipsRow, Path]]


@pytest.fixture
def run(landmarker_asset: LandmarkerAsset, tmp_path: Path) -> Run:
    """Ingest and cut a video made of the given frames, or a file; returns the row and the output folder."""

    def call(source: Path | Sequence[np.ndarray], config: ClipConfig = SMALL) -> tuple[ClipsRow, Path]:
        folder, out = tmp_path / "in", tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        folder.mkdir(exist_ok=True)
        out.mkdir()
        if not isinstance(source, Path):
            write_video(folder / "s.mp4", source, 25.0, crf=6)
            source = folder / "s.mp4"
        normalise(source, folder, IngestConfig(crf=6))
        files = {path.stem: path for path in folder.iterdir() if path.stem in ("video", "frames", "audio")}
        return work_on(CLIPS, config, files, NOTHING, out, asset=landmarker_asset, name="some video"), out

    return call


@pytest.fixture(scope="module")
def heads(sample_clips: list[Path]) -> dict[str, np.ndarray]:
    """40 frames each of two people, (40, 240, 240, 3): one is the other's mirror image, paler and before a wall."""
    talking, turning = (read_frames(path) for path in sample_clips)
    paler = (255 - 0.6 * (255 - turning[:, :, ::-1].astype(np.float32))).astype(np.uint8)
    return {"talking": talking, "turning": paler}


def assert_clip_is_the_source(source: np.ndarray, out: Path, clip: CutClip, tolerance: float = 4.0) -> None:
    """Each frame of the clip is the cropped frame of `source` that the row names, and no neighbour of it."""
    folder = out / f"{clip.index:03d}"
    frames = read_frames(folder / "clip.mp4")
    numbers = pq.read_table(folder / "frames.parquet")["source_frame"].to_pylist()
    assert len(frames) == clip.frames == clip.end - clip.start
    assert numbers == list(range(clip.start, clip.end))
    scale, _, left, _, same, top = clip.affine
    assert scale == same  # never stretched
    size = frames.shape[1]
    assert frames.shape[1:] == (size, size, 3)
    # pixel centres of the clip, in pixel centres of the source
    x = ((np.arange(size) + 0.5) * scale + left - 0.5).astype(np.float32)
    y = ((np.arange(size) + 0.5) * scale + top - 0.5).astype(np.float32)
    grid = np.meshgrid(x, y)
    blur = max(scale, 1.0) / 2

    def crop(number: int) -> np.ndarray:
        smooth = cv2.GaussianBlur(source[number], (0, 0), blur) if scale > 1 else source[number]
        return cv2.remap(smooth, *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT).astype(float)

    def error(i: int, shift: int) -> float:
        return float(np.abs(frames[i] - crop(numbers[i] + shift)).mean())

    checked = range(1, len(frames) - 1, 5)
    assert max(error(i, 0) for i in checked) < tolerance
    own, before, after = (sum(error(i, shift) for i in checked) for shift in (0, -1, 1))
    assert own < min(before, after)


def test_a_talking_head_becomes_one_clip_of_the_same_frames(run: Run, heads: dict[str, np.ndarray]) -> None:
    row, out = run(heads["talking"])
    (clip,) = row.clips
    assert (clip.start, clip.end, clip.faces_seen, clip.padded) == (0, 40, 1, 0.0)
    assert row.rejected == ()
    assert probe(out / "000" / "clip.mp4").fps == 25.0
    assert_clip_is_the_source(heads["talking"], out, clip)


def test_the_same_video_gives_the_same_row_and_bytes(run: Run, heads: dict[str, np.ndarray]) -> None:
    row, out = run(heads["talking"])
    again, other = run(heads["talking"])
    assert row == again
    for name in ("clip.mp4", "frames.parquet"):
        assert (out / "000" / name).read_bytes() == (other / "000" / name).read_bytes(), name


def test_a_video_too_long_to_be_held_gives_the_same_bytes(
    run: Run, heads: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clips of it, cut in one decoding or with a second one."""
    both = np.concatenate([heads["talking"], heads["turning"]])
    row, out = run(both)
    monkeypatch.setattr("tasks.clips._HELD_BYTES", 240 * 240 * 3 // 2 * 60)
    again, other = run(both)
    assert len(row.clips) == 2 and row == again
    for name in ("000/clip.mp4", "001/clip.mp4"):
        assert (out / name).read_bytes() == (other / name).read_bytes(), name


def test_no_clip_crosses_a_cut(run: Run, heads: dict[str, np.ndarray]) -> None:
    both = np.concatenate([heads["talking"][:23], heads["turning"][:17]])
    row, out = run(both)
    assert [(clip.start, clip.end) for clip in row.clips] == [(0, 23), (23, 40)]
    for clip in row.clips:
        assert_clip_is_the_source(both, out, clip)


def test_a_face_that_goes_away_ends_the_clip_at_its_last_frame(run: Run, heads: dict[str, np.ndarray]) -> None:
    frames = heads["talking"].copy()
    frames[17:27] = 0
    row, _ = run(frames, SMALL.model_copy(update={"scene_threshold": 255.0}))
    assert [(clip.start, clip.end) for clip in row.clips] == [(0, 17), (27, 40)]


def test_a_short_gap_does_not_end_the_clip(run: Run, heads: dict[str, np.ndarray]) -> None:
    frames = heads["talking"].copy()
    frames[19:23] = 0
    row, _ = run(frames, SMALL.model_copy(update={"scene_threshold": 255.0}))
    assert [(clip.start, clip.end) for clip in row.clips] == [(0, 40)]


def test_of_two_faces_the_larger_is_kept_and_the_other_reported(run: Run, heads: dict[str, np.ndarray]) -> None:
    small = np.stack([cv2.resize(frame, (160, 160)) for frame in heads["turning"]])
    scene = np.full((40, 240, 400, 3), 128, np.uint8)
    scene[:, :, :240] = heads["talking"]
    scene[:, 40:200, 240:] = small
    row, out = run(scene)
    (clip,) = row.clips
    assert clip.box[2] < 240
    assert clip.faces_seen == 2
    (other,) = row.rejected
    assert other.reason == "other_face"
    assert other.box[0] > 240
    assert_clip_is_the_source(scene, out, clip)
    row, out = run(scene, SMALL.model_copy(update={"faces": "all"}))
    assert len(row.clips) == 2
    for clip in row.clips:
        assert_clip_is_the_source(scene, out, clip)


def test_a_face_at_the_edge_is_filled_by_reflection_only_where_the_picture_ends(
    run: Run, heads: dict[str, np.ndarray]
) -> None:
    strip = heads["talking"][:, 70:206, :]  # lower than the square that the face needs
    row, out = run(strip, SMALL.model_copy(update={"size": 256}))
    (clip,) = row.clips
    left, top, side = clip.affine[2], clip.affine[5], clip.affine[0] * 256
    inside = (min(left + side, 240) - max(left, 0)) * (min(top + side, 136) - max(top, 0))
    assert clip.padded > 0
    assert clip.padded == pytest.approx(1 - inside / side**2, abs=1e-3)
    assert_clip_is_the_source(strip, out, clip)


def test_long_tracks_are_split_and_every_frame_kept(run: Run, heads: dict[str, np.ndarray]) -> None:
    row, out = run(heads["talking"], SMALL.model_copy(update={"max_frames": 15}))
    assert [(clip.start, clip.end) for clip in row.clips] == [(0, 13), (13, 26), (26, 40)]
    assert sorted(path.name for path in out.iterdir()) == ["000", "001", "002"]
    assert_clip_is_the_source(heads["talking"], out, row.clips[2])


def test_the_clips_sound_belongs_to_its_frames(run: Run, heads: dict[str, np.ndarray], tmp_path: Path) -> None:
    source = encode(tmp_path / "s.mp4", heads["talking"], sound=(click(1.6, 1.2), 0.0))
    row, out = run(source, SMALL.model_copy(update={"max_frames": 20}))
    assert [clip.start for clip in row.clips] == [0, 20]
    assert click_time(out / "001" / "clip.mp4") == pytest.approx(0.4, abs=0.01)


def test_no_face_at_all_is_quarantined(run: Run) -> None:
    with pytest.raises(Quarantine, match="some video: no face") as caught:
        run(np.zeros((30, 120, 160, 3), np.uint8))
    assert caught.value.reason == "no_face"


def test_faces_seen_too_briefly_are_quarantined(run: Run, heads: dict[str, np.ndarray]) -> None:
    with pytest.raises(Quarantine, match=r"clips\.min_frames is 50") as caught:
        run(heads["talking"], SMALL.model_copy(update={"min_frames": 50}))
    assert caught.value.reason == "too_short"


def test_a_times_table_of_another_video_is_an_error(
    landmarker_asset: LandmarkerAsset, heads: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for name, count in (("a", 20), ("b", 10)):
        (tmp_path / name).mkdir()
        write_video(tmp_path / f"{name}.mp4", heads["talking"][:count], 25.0)
        normalise(tmp_path / f"{name}.mp4", tmp_path / name, IngestConfig())
    files = {"video": tmp_path / "a" / "video.mp4", "frames": tmp_path / "b" / "frames.parquet"}
    with pytest.raises(ValueError, match="20 frames"):
        work_on(CLIPS, SMALL, files, NOTHING, tmp_path, asset=landmarker_asset)


def test_a_small_face_in_a_full_body_is_found_and_fills_its_clip(run: Run, shared: Path) -> None:
    source = shared / "data" / "source_videos" / "s13.mp4"
    row, out = run(source, ClipConfig(size=128))
    (clip,) = row.clips
    assert clip.frames == 103
    left, top, right, bottom = clip.box
    side = clip.affine[0] * 128
    assert (bottom - top) / side == pytest.approx(0.5, abs=0.02)  # margin 0.5 on each side of the union
    assert (left + right) / 2 == pytest.approx(clip.affine[2] + side / 2, abs=2)
    assert_clip_is_the_source(read_frames(source), out, clip, tolerance=5.0)


def test_a_video_on_its_head_is_set_aside_and_says_how_it_lies(run: Run) -> None:
    standing = data.astronaut()[60:170, 170:280].repeat(2, axis=0).repeat(2, axis=1)
    with pytest.raises(Quarantine, match=r"turned, 3 of 3 frames show a face: it is upside down"):
        run([standing[::-1, ::-1]] * 12)
    with pytest.raises(Quarantine) as nothing:
        run([np.full((96, 96, 3), 90, np.uint8)] * 12)
    assert nothing.value.reason == "no_face" and "turned" not in nothing.value.message
