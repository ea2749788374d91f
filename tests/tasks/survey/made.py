"""A work folder as a data run leaves it: real receipts, rows and landmark tables of faces whose motion is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fye_model.config import IngestConfig, Recipe, Runtime, ScreeningConfig, SplitConfig
from fye_model.landmarks.blendshapes import NAMES
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.table import LandmarkSequence, write_landmarks, write_masks
from tasks.clips import CLIPS, ClipsRow, CutClip, RejectedTrack, clip_id
from tasks.engine.items import Item, Outcome, StageResult
from tasks.engine.receipts import Receipts
from tasks.engine.store import FileRef, Store
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.plausible import PlausibleRow
from tasks.faces.scores import PictureRow, clip_scores
from tasks.footage.duplicates import thumbnail, write_thumbnails
from tasks.landmarks import LANDMARKS, LandmarkFacts, LandmarkRow
from tasks.lip_sync import LIPSYNC, LipSyncRow
from tasks.media.normalise import normalise
from tasks.media.span import SpanFacts
from tasks.media.write import write_video
from tasks.screening import SCREENING, ScreeningSettings, screening_item
from tasks.workspace.dataset import Clip, ClipRecord
from tasks.workspace.decisions import read_decisions
from tasks.workspace.run import Run, write_summary
from tasks.workspace.summary import Results
from tests.fye_model.landmarks.conftest import landmarks_of, pose
from tests.tasks.support import work_on

SIDE, FPS = 64, 25.0
MODEL = "synthetic:1"
GEOMETRY = FaceGeometry.mean_mesh()


@dataclass(frozen=True)
class Take:
    """One source with one clip: what the face does for its whole length, and scores that are not of its landmarks.

    shapes: blendshape -> value, the rest is 0.
    """

    subject: str
    name: str
    shapes: dict[str, float] = field(default_factory=dict)
    yaw_deg: float = 0.0
    frames: int = 50
    detected: int | None = None  # of the frames, those with a face; None: all
    colour: int = 120
    lost: tuple[RejectedTrack, ...] = ()
    covered: float | None = None
    lettering: float | None = None
    sync: tuple[float, float] | None = None  # offset in seconds, confidence


def sequence(take: Take) -> LandmarkSequence:
    """The landmark table of a take; a little different in every frame."""
    count = take.frames
    poses = np.stack([pose(yaw_deg=take.yaw_deg + 0.1 * np.sin(frame)) for frame in range(count)])
    points = landmarks_of(np.repeat(GEOMETRY.canonical[None], count, axis=0), poses, SIDE, SIDE).astype(np.float32)
    valid = np.arange(count) < (count if take.detected is None else take.detected)
    shapes = np.zeros((count, len(NAMES)), np.float32)
    for name, value in take.shapes.items():
        shapes[:, NAMES.index(name)] = value
    points[~valid], shapes[~valid] = np.nan, np.nan
    matrix = GEOMETRY.estimate(points, SIDE, SIDE)[1].astype(np.float32)
    none = np.zeros(count, bool)
    return LandmarkSequence(points, matrix, shapes, valid, none, np.arange(count) / FPS, FPS, SIDE, SIDE, MODEL)


def make_work(
    folder: Path,
    takes: Sequence[Take],
    set_aside: Sequence[tuple[str, str]] = (),
    screening: ScreeningConfig | None = None,
    faceless: Sequence[str] = (),
) -> Store:
    """Leave a run of these takes in `folder`. set_aside: (name, reason) of files that could not be read. faceless:
    names of others, as long as the first take."""
    store, screening = Store(folder), screening or ScreeningConfig(min_sharpness=0.0)
    asset = LandmarkerAsset(folder / "no.task", MODEL, "0" * 64, False, "made")
    run = Run(store, Recipe(screening=screening), Runtime(workers=0), asset)
    cut: list[Outcome[ClipsRow]] = []
    marked: list[Outcome[LandmarkRow]] = []
    clips: list[Clip] = []
    for number, take in enumerate(takes):
        made = _make_take(store, take, f"{number:016x}")
        for results, outcome in zip((cut, marked), made[:2], strict=True):
            results.append(outcome)  # type: ignore[attr-defined]
        clips.append(made[2])
    for name, reason in set_aside:
        item = Item(f"aside-{name}", name, {}, SpanFacts())
        cut.append(Receipts(store, CLIPS).set_aside(item, f"key-{name}", reason, f"{name}: made so"))
    for name in faceless:
        item, found = (
            Item(f"aside-{name}", name, {}, SpanFacts()),
            ClipsRow(source=cut[0].row.source, clips=(), rejected=()),
        )
        aside = Receipts(store, CLIPS).set_aside(item, f"key-{name}", "no_face", f"{name}: made so", found=found)
        assert Receipts(store, CLIPS).find(item, aside.key) == aside and aside.result == found, (
            "its receipt keeps the row"
        )
        cut.append(aside)
    results: list[StageResult[Any]] = [
        StageResult(stage.name, outcomes, "digest", 0.0, 0.0, 0, "Completed")
        for stage, outcomes in ((CLIPS, cut), (LANDMARKS, marked))
    ]
    if scored := [_scored(clip, take) for clip, take in zip(clips, takes, strict=True) if take.sync is not None]:
        results.append(StageResult(LIPSYNC.name, scored, "digest", 0.0, 0.0, 0, "Completed"))
    item = screening_item(clips, results[1], read_decisions(store))
    settings = ScreeningSettings(screening=screening, split=SplitConfig(by="tail"))
    row = work_on(SCREENING, settings, {}, item.facts, folder / "partial" / "screening")
    judged = Outcome(item.id, item.name, "key", "items/screening/key", {}, row)
    results.append(StageResult(SCREENING.name, [judged], "digest", 0.0, 0.0, 0, "Completed"))
    run.results = results
    write_summary(run, "refresh", Results())
    return store


def _scored(clip: Clip, take: Take) -> Outcome[LipSyncRow]:
    assert take.sync is not None
    row = LipSyncRow(offset_s=take.sync[0], confidence=take.sync[1])
    return Outcome(clip.id, clip.record.name, "key", f"items/{LIPSYNC.name}/{clip.id}", {}, row)


def _make_take(store: Store, take: Take, source: str) -> tuple[Outcome[ClipsRow], Outcome[LandmarkRow], Clip]:
    pictures = [np.full((SIDE, SIDE, 3), take.colour + frame % 3, np.uint8) for frame in range(take.frames)]
    scratch = store.scratch(f"made/{source}")
    write_video(scratch / "source.mp4", pictures, FPS)
    taken, _ = normalise(scratch / "source.mp4", scratch / "copy.mp4", IngestConfig())
    folder = scratch / "clips"
    write_video(folder / "000" / "clip.mp4", pictures, FPS)
    (folder / "000" / "frames.parquet").write_bytes(source.encode())
    box = (10.0, 8.0, 50.0, 56.0)
    piece = CutClip(
        index=0,
        frames=take.frames,
        fps=FPS,
        start=0,
        end=take.frames,
        affine=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        box=box,
        padded=0.0,
        faces_seen=1,
    )
    row = ClipsRow(source=taken, clips=(piece,), rejected=take.lost)
    for number in range(len(take.lost)):
        save_jpeg(folder / "lost" / f"{number:03d}.jpg", take.colour)
    cut = Receipts(store, CLIPS).settle(Item(source, take.name, {}, SpanFacts()), f"{source}-clips", folder, row, 1.0)
    clip = clip_id(source, cut.files["000/clip.mp4"][1])
    record = ClipRecord(clip=clip, name=f"{take.name}-000", subject=take.subject, frames=take.frames)
    marks = scratch / "landmarks"
    marks.mkdir(parents=True)
    found = sequence(take)
    write_landmarks(found, marks / "landmarks.parquet", {"geometry": "mean_mesh"})
    masks = np.zeros((2, take.frames, SIDE // 8, SIDE // 8), np.float32)
    masks[0, :, 2:6, 2:6], masks[1, :, 1:7, 1:7] = 0.5, 1.0
    write_masks(marks / "masks.parquet", *masks)
    write_thumbnails(marks / "thumbnails.npy", [thumbnail(picture) for picture in pictures])
    scores = LandmarkRow(
        **clip_scores(found, GEOMETRY, [1] * take.frames).model_dump(),
        **PictureRow(sharpness=9.0, brightness=120.0).model_dump(),
        **PlausibleRow(shape_error=0.05, shape_jump=0.01, looks_apart=None).model_dump(),
        covered=take.covered,
        lettering=take.lettering,
    )
    marked = Receipts(store, LANDMARKS).settle(
        Item(clip, record.name, {}, LandmarkFacts(factor=8)), f"{clip}-landmarks", marks, scores, 1.0
    )
    refs: dict[str, FileRef] = {"video": cut.ref("000/clip.mp4")}
    return cut, marked, Clip(record, refs)


def save_jpeg(path: Path, colour: int) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (3 * SIDE, SIDE), (colour, 0, 0)).save(path)
