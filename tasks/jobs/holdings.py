"""What the last run of a work folder left of its data set, read from its manifest and its receipts alone.

Neither the recipe nor the source videos are needed, and nothing is computed: the numbers are those of the run.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeVar

import pyarrow.parquet as pq
from pydantic import ValidationError

from fye_model.config import Config
from tasks.clips import CLIPS, ClipsRow, CutClip, clip_id
from tasks.engine.items import FileList
from tasks.engine.receipts import Receipts
from tasks.engine.stage import AnyStage
from tasks.engine.store import Store, is_missing
from tasks.landmarks import LANDMARKS, LandmarkRow
from tasks.lip_sync import LIPSYNC, NOT_SCORED, LipSyncRow
from tasks.screening import SCREENING, KeptClip, RejectedClip, ScreeningRow
from tasks.survey.records import HeldClip, HeldSource, Holdings, LostTrack
from tasks.workspace.changes import SourceRow, read_sources
from tasks.workspace.summary import SUMMARY, ManifestRow, QuarantineRow

Record = TypeVar("Record", bound=Config)
_RUN = "run fye refresh (or fye retrain) with this --work first"


def read_holdings(work: str) -> Holdings:
    """Read a work folder. ValueError where there is none, where no run has ended in it, or where another version
    of this software has written it."""
    if is_missing(work):
        raise ValueError(f"there is no work folder {work}; {_RUN}")
    store = Store(work)
    if not store.exists(SUMMARY) or not store.exists("manifest.parquet"):
        raise ValueError(f"no run has ended in {work} yet; {_RUN}")
    summary = store.read_json(SUMMARY)
    manifest = _rows(store, "manifest.parquet", ManifestRow)
    uncut = [row for row in manifest if row.stage == CLIPS.name and row.status != "done" and row.row != "null"]
    done: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in manifest:
        if row.status == "done":
            done[row.stage].append(row)
    if not done[SCREENING.name]:
        raise ValueError(f"the last run in {work} ended before its clips were judged; {_RUN}")
    (judged,) = done[SCREENING.name]
    verdicts = _record(judged, ScreeningRow)
    files = {stage.name: _files(store, stage, done[stage.name]) for stage in (CLIPS, LANDMARKS)}
    known = {row.id: row for row in read_sources(store) if row.status == "taken"}
    sources, clips, tracks = _cut(done, uncut, files, verdicts, known)
    return Holdings(
        store=store,
        landmark_model=summary["landmark_model"],
        recipe=summary["recipe"],
        started=summary["started"],
        sources=sources,
        clips=clips,
        tracks=tracks,
        set_aside=_rows(store, "quarantine.parquet", QuarantineRow),
        funnel=verdicts.funnel,
        bytes_by_stage={
            stage: sum(size for found in by_item.values() for size, _ in found.values())
            for stage, by_item in files.items()
        },
    )


def _cut(
    done: Mapping[str, Sequence[ManifestRow]],
    uncut: Sequence[ManifestRow],
    files: Mapping[str, Mapping[str, FileList]],
    verdicts: ScreeningRow,
    known: Mapping[str, SourceRow],
) -> tuple[list[HeldSource], list[HeldClip], list[LostTrack]]:
    """Sources, clips and lost tracks out of the stages' rows. uncut: those of sources that were read and gave none."""
    judged: dict[str, KeptClip | RejectedClip] = {entry.clip: entry for entry in verdicts.kept}
    judged |= {entry.clip: entry for entry in verdicts.rejected}
    landmarks = {row.item: row for row in done[LANDMARKS.name]}
    lips = {row.item: _record(row, LipSyncRow) for row in done.get(LIPSYNC.name, ())}
    sources: list[HeldSource] = []
    clips: list[HeldClip] = []
    tracks: list[LostTrack] = []
    for row in done[CLIPS.name]:
        cut = _record(row, ClipsRow)
        sources.append(_source(row, cut, known.get(row.item)))
        for number, lost in enumerate(cut.rejected):
            picture = f"{row.folder}/lost/{number:03d}.jpg"
            tracks.append(LostTrack(row.name, lost.reason, lost.start, lost.end, cut.source.fps, picture))
        for piece in cut.clips:
            name = f"{piece.index:03d}/clip.mp4"
            clip = clip_id(row.item, files[CLIPS.name][row.item][name][1])
            if clip in judged:  # others were set aside at the landmarks, and are told there
                told, place = known.get(row.item), f"{row.folder}/{name}"
                fits = lips.get(clip, NOT_SCORED)
                clips.append(_clip(judged[clip], row, told, place, piece, landmarks[clip], fits))
    sources += [_source(row, _record(row, ClipsRow), known.get(row.item)) for row in uncut]
    return sources, clips, tracks


def _source(row: ManifestRow, cut: ClipsRow, told: SourceRow | None) -> HeldSource:
    taken = cut.source
    return HeldSource(
        source=row.item,
        name=row.name,
        seconds=taken.duration_s,
        width=taken.source_width,
        height=taken.source_height,
        fps=taken.source_fps,
        has_audio=taken.has_audio,
        clips=len(cut.clips),
        card=told.source if told else None,
        licence=told.licence if told else None,
        place=told.place if told else None,
    )


def _clip(
    entry: KeptClip | RejectedClip,
    source: ManifestRow,
    told: SourceRow | None,
    video: str,
    piece: CutClip,
    landmarks: ManifestRow,
    fits: LipSyncRow,
) -> HeldClip:
    scores = _record(landmarks, LandmarkRow)
    return HeldClip(
        clip=entry.clip,
        name=entry.name,
        subject=entry.subject,
        source=source.name,
        source_id=source.item,
        take=told.take if told else None,
        recorded=told.recorded if told else None,
        frames=piece.frames,
        kept=isinstance(entry, KeptClip),
        by_hand=entry.by_hand,
        reasons=entry.overruled if isinstance(entry, KeptClip) else entry.reasons,
        face_px=piece.box[3] - piece.box[1],
        scores=scores,
        video=video,
        landmarks=f"{landmarks.folder}/landmarks.parquet",
        masks=f"{landmarks.folder}/masks.parquet",
        covered=scores.covered,
        lettering=scores.lettering,
        sync_offset_s=fits.offset_s,
        sync_confidence=fits.confidence,
    )


def _rows(store: Store, path: str, record: type[Record]) -> list[Record]:
    table = pq.read_table(io.BytesIO(store.read_bytes(path)))
    try:
        return [record.model_validate(row) for row in table.to_pylist()]
    except ValidationError as error:
        raise _of_another_version(path) from error


def _record(row: ManifestRow, record: type[Record]) -> Record:
    try:
        return record.model_validate_json(row.row)
    except ValidationError as error:
        raise _of_another_version(f"manifest.parquet, {row.stage} of {row.name}") from error


def _of_another_version(place: str) -> ValueError:
    return ValueError(f"{place}: written by another version of this software; {_RUN}, which brings it up to date")


def _files(store: Store, stage: AnyStage, rows: Sequence[ManifestRow]) -> dict[str, FileList]:
    """The files of each item by its receipt. ValueError for an item whose receipt is gone."""
    receipts = Receipts(store, stage)
    found: dict[str, FileList] = {}
    for row in rows:
        outcome = receipts.look(row.folder)
        if outcome is None:
            raise ValueError(f"{row.stage} of {row.name}: its receipt in {row.folder} is gone; {_RUN}")
        found[row.item] = outcome.files
    return found
