"""Every small file that once failed goes through the data half, or into a portrait, and comes out as it should."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.wiring import Data, prepare_data
from fye_model.config import Runtime
from tasks.clips import ClipsRow
from tasks.engine.store import Store
from tasks.faces.detector import FaceLandmarker
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.search import find_faces
from tasks.media.pictures import read_picture
from tasks.workspace.recipes import load_recipe
from tasks.workspace.sources import Root, register_root
from tests.flows.plain import Plain

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Video:
    """What becomes of a video: how it is shown, the frames of its clips, and the reason for none.

    copy: screening finds the moments of another file in it. said: in the message of one that is set aside, or in its
    notes.
    """

    shown: tuple[int, int]  # width, height
    clips: tuple[int, ...]
    mirrored: bool = False
    rotation: int = 0
    start_s: float = 0.0
    copy: bool = False
    reason: str | None = None
    said: str = ""


# rotmirror.mp4 is shown standing on its head, as its matrix says; Chromium shows it so, too
VIDEOS = {
    "clip.mts": Video((256, 256), (30,), start_s=1.48),
    "mirror.mp4": Video((256, 256), (30,), mirrored=True, copy=True),
    "mirror_tie.mp4": Video((650, 650), (37, 38), mirrored=True),
    "mpegts.ts": Video((256, 256), (30,), start_s=1.48, copy=True),
    "rotmirror.mp4": Video((256, 256), (), True, 90, reason="no_face", said="upside down"),
    "sar.mp4": Video((256, 256), (30,), copy=True),
    "trunc.mp4": Video((256, 256), (), reason="too_short", said="the last 19 of 30 frames"),
    "vdelay.mp4": Video((256, 256), (30,), start_s=0.5, copy=True),
    "vfr.mp4": Video((256, 256), (30,), copy=True),
}
PICTURES = {"rot90.jpg": 90.0, "iphone.heic": 0.0}  # how far the face in it is turned, counter-clockwise
OTHERS = {"README.md"}


@pytest.fixture(scope="module")
def cases(shared: Path) -> Path:
    folder = shared / "cases"
    if not folder.is_dir():
        pytest.skip("no folder of sample data beside the checkout")
    return folder


@pytest.fixture(scope="module")
def done(
    cases: Path, landmarker_asset: LandmarkerAsset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Plain, Data]:
    recipe = load_recipe("debug", ["split.by=clip"])
    store = Store(tmp_path_factory.mktemp("cases"))
    run = Plain(store, recipe, Runtime(workers=0, threads=1, device="cpu"), landmarker_asset)
    register_root(store, Root(str(cases)))
    return run, prepare_data(run)


def test_every_case_is_named_here(cases: Path) -> None:
    assert {path.name for path in cases.iterdir()} == {*VIDEOS, *PICTURES, *OTHERS}


def test_what_is_no_video_is_passed_over_with_its_reason(done: tuple[Plain, Data]) -> None:
    told = {Path(source.path).name: source.problem for source in done[0].sources if source.passed_over}
    assert {name: problem[0] for name, problem in told.items() if problem} == {
        "README.md": "no_video",
        "iphone.heic": "no_video",
        "cases": "pictures",  # rot90.jpg, by its folder
    }


@pytest.mark.parametrize("name", VIDEOS)
def test_a_video_is_shown_as_it_should_be_and_becomes_these_clips(done: tuple[Plain, Data], name: str) -> None:
    run, data = done
    expected = VIDEOS[name]
    (source,) = [source for source in run.sources if Path(source.path).name == name]
    cut, marked = ({outcome.id: outcome for outcome in result.outcomes} for result in run.results[:2])
    found = cut[source.id].result
    assert isinstance(found, ClipsRow), "it is known what a video holds also where no clip comes out of it"
    row = found.source
    assert ((row.width, row.height), row.mirrored, row.rotation) == (
        expected.shown,
        expected.mirrored,
        expected.rotation,
    )
    assert row.start_s == pytest.approx(expected.start_s, abs=0.01)
    clips = [clip for clip in data.clips if clip.source is not None and clip.source.id == source.id]
    assert tuple(clip.record.frames for clip in clips) == expected.clips
    assert cut[source.id].reason == expected.reason
    assert expected.said in " ".join([cut[source.id].message or "", *row.notes])
    for clip in clips:
        scores = marked[clip.id].row
        assert (scores.detection_rate, scores.head.not_alone, scores.head.inside_min) == (1.0, 0, 1.0)
        assert scores.looks_apart is None or scores.looks_apart < 0.013
    reasons = {entry.clip: entry.reasons for entry in data.verdicts.rejected}
    for clip in clips:
        (reason,) = reasons.get(clip.id, ("kept",))
        assert reason.startswith("shows the same moments as clip-000" if expected.copy else "kept")


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_a_portrait_with_its_face_where_it_is(
    cases: Path, landmarker_asset: LandmarkerAsset, name: str
) -> None:
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model, max_faces=4) as landmarker:
        (face,) = find_faces(landmarker, read_picture(cases / name))
    assert face.sure and abs((face.tilt_deg - PICTURES[name] + 180) % 360 - 180) < 15
