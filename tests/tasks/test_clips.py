"""Faces become square clips that show exactly the frames and the part of the picture that the row says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from fye_model.config import ClipConfig, FootageConfig, Recipe
from tasks.clips import CLIPS, ClipsRow, CutClip, CutSettings
from tasks.engine.items import Quarantine
from tasks.faces.detector import FaceLandmarker
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.scan import scan_video
from tasks.media.read import probe, read_frames, write_video
from tasks.media.shown import ShownVideo, ShowSettings
from tasks.media.span import SpanFacts
from tests.tasks.support import work_on
from tests.tasks.videos import click, click_time, damage, encode, faststart, numbered

SMALL = ClipConfig(size=128, min_frames=8)
Run = Callable[..., tuple[ClipsRow, Path]]


@pytest.fixture
def run(landmarker_asset: LandmarkerAsset, tmp_path: Path) -> Run:
    """Cut a video made of the given frames, or a file; returns the row and the output folder."""

    def call(
        source: Path | Sequence[np.ndarray],
        config: ClipConfig = SMALL,
        taken: FootageConfig = FootageConfig(),  # noqa: B008 - frozen
        **span: float,
    ) -> tuple[ClipsRow, Path]:
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        if not isinstance(source, Path):
            write_video(tmp_path / "made.mp4", source, 25.0, crf=6)
            source = tmp_path / "made.mp4"
        files, settings = {"source": source}, CutSettings(ingest=taken, clips=config)
        return work_on(CLIPS, settings, files, SpanFacts(**span), out, asset=landmarker_asset, name="some video"), out

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
    run: Run, heads: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two faces at one time, then one: three clips with sound and a lost track, cut in one decoding or with a second
    one that goes no further than it needs to."""
    scene = np.full((80, 240, 480, 3), 128, np.uint8)
    scene[:40, :, :240], scene[:40, :, 240:] = heads["talking"], heads["turning"]
    scene[40:62, :, :240], scene[62:66, :, 240:] = heads["talking"][:22], heads["turning"][:4]
    source = encode(tmp_path / "s.mkv", scene, sound=(click(3.2, 1.9), 0.0))
    row, out = run(source, SMALL.model_copy(update={"faces": "all"}))
    assert [(clip.start, clip.end) for clip in row.clips] == [(0, 40), (0, 40), (40, 62)]
    assert [(lost.reason, lost.start, lost.end) for lost in row.rejected] == [("too_short", 62, 66)]
    monkeypatch.setattr("tasks.faces.scan.HELD_BYTES", 480 * 240 * 3 // 2 * 60)
    again, other = run(source, SMALL.model_copy(update={"faces": "all"}))
    assert row == again
    assert click_time(out / "002" / "clip.mp4") == pytest.approx(0.3, abs=0.01)
    written = sorted(path.relative_to(out) for path in out.rglob("*.*"))
    assert len(written) == 7 and Path("lost/000.jpg") in written
    for name in written:
        assert (out / name).read_bytes() == (other / name).read_bytes(), name


def test_frames_are_held_by_the_memory_that_they_take(
    landmarker_asset: LandmarkerAsset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of 64 by 48 takes three times the bytes of its pixels: counted by these, an hour would be held in 1.3 GB."""
    source = encode(tmp_path / "s.mp4", numbered(40))
    held = []
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model, max_faces=1) as landmarker:
        for room in (1, 4):
            monkeypatch.setattr("tasks.faces.scan.HELD_BYTES", room * 40 * 64 * 48 * 3 // 2)
            with ShownVideo(source, ShowSettings(fps=25.0)) as shown:
                held.append(scan_video(shown, landmarker, SMALL).held)
    assert held[0] is None and held[1] is not None and len(held[1]) == 40


def test_what_became_no_clip_is_shown_in_its_frames_with_its_box(run: Run, heads: dict[str, np.ndarray]) -> None:
    scene = np.full((40, 240, 480, 3), 128, np.uint8)
    scene[:, :, :240], scene[10:15, :, 240:] = heads["talking"], heads["turning"][:5]
    row, out = run(scene, SMALL.model_copy(update={"scene_threshold": 255.0}))
    (lost,) = row.rejected
    assert (lost.reason, lost.start, lost.end) == ("too_short", 10, 15) and lost.box[0] > 240
    with Image.open(out / "lost" / "000.jpg") as picture:
        shown = np.asarray(picture, float)
    height, width = shown.shape[:2]
    scale = height / 240
    assert width == pytest.approx(3 * 480 * scale, abs=3)
    left, top, right, _ = (value * scale for value in lost.box)
    for place in range(3):  # the box's upper side is red in each of the three frames
        begin, end = (round(place * width / 3 + edge) for edge in (left, right))
        side = shown[round(top) : round(top) + 2, begin + 3 : end - 3]
        assert side[..., 0].mean() > side[..., 1:].mean() + 60


def test_a_damaged_video_is_set_aside_before_anything_is_cut(
    run: Run, heads: dict[str, np.ndarray], tmp_path: Path
) -> None:
    source = damage(faststart(tmp_path / "s.mp4", heads["talking"], options={"g": "1", "bf": "0"}), list(range(9, 19)))
    with pytest.raises(Quarantine, match="some video: 10 of 40 frames are lost") as caught:
        run(source)
    assert caught.value.reason == "corrupt" and caught.value.found is None
    assert not list(tmp_path.rglob("clip.mp4"))
    row, _ = run(source, taken=FootageConfig(max_corrupt_fraction=0.3))
    assert row.source.corrupt_frames + row.source.refused_packets == 10 and len(row.clips) == 1


def test_a_hole_in_a_video_names_it_and_says_what_to_do(run: Run, heads: dict[str, np.ndarray], tmp_path: Path) -> None:
    times = [40 * i + (5000 if i > 20 else 0) for i in range(40)]
    source = encode(tmp_path / "s.mp4", heads["talking"], times_ms=times)
    with pytest.raises(Quarantine, match=r"^time_gap: some video: no picture from .*, or raise ingest\.max_hold_s$"):
        run(source)
    row, out = run(source, taken=FootageConfig(max_hold_s=6.0))
    table = pq.read_table(out / "000" / "frames.parquet")
    assert row.source.held_frames == 125 and sum(table["held"].to_pylist()) > 100


def test_a_span_of_a_source_is_cut_at_its_times(run: Run, heads: dict[str, np.ndarray], tmp_path: Path) -> None:
    source = encode(tmp_path / "s.mp4", heads["talking"], sound=(click(1.6, 0.9), 0.0), options={"g": "10"})
    row, out = run(source, start_s=0.4, end_s=1.2)
    (clip,) = row.clips
    assert (clip.start, clip.end, row.source.frames) == (0, 20, 20) and row.source.start_s == pytest.approx(0.4)
    assert click_time(out / "000" / "clip.mp4") == pytest.approx(0.5, abs=0.01)
    assert_clip_is_the_source(heads["talking"][10:30], out, clip)


def test_how_a_copy_would_be_written_is_not_in_the_key_and_all_else_is() -> None:
    base = Recipe()
    copy = base.model_copy(update={"ingest": base.ingest.model_copy(update={"crf": 20, "gop": 3})})
    assert CLIPS.settings(copy) == CLIPS.settings(base) == CutSettings()
    for name, value in {"fps": 30.0, "max_side": 640, "max_seconds": 3.0, "max_hold_s": 1.0}.items():
        other = base.model_copy(update={"ingest": base.ingest.model_copy(update={name: value})})
        assert CLIPS.settings(other) != CutSettings()


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


def test_no_face_at_all_is_quarantined_with_what_is_known_of_the_video(run: Run) -> None:
    with pytest.raises(Quarantine, match="some video: no face") as caught:
        run(np.zeros((30, 120, 160, 3), np.uint8))
    found = caught.value.found
    assert caught.value.reason == "no_face" and isinstance(found, ClipsRow)
    assert (found.source.frames, found.source.width, found.clips) == (30, 160, ())


def test_faces_seen_too_briefly_are_quarantined(run: Run, heads: dict[str, np.ndarray]) -> None:
    with pytest.raises(Quarantine, match=r"clips\.min_frames is 50") as caught:
        run(heads["talking"], SMALL.model_copy(update={"min_frames": 50}))
    assert caught.value.reason == "too_short"


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
