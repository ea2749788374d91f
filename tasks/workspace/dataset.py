"""From stage to stage: which clips there are, what the next stage reads of them, and the index that training reads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tasks.engine.items import Item, Outcome, StageResult
from tasks.engine.store import FileRef, HashMemory, Store, digest
from tasks.workspace.sources import Source

INDEX_SCHEMA = 1


@dataclass(frozen=True)
class Clip:
    """One square clip of one face: who it shows, how long it is, which spans train and validate, and its files."""

    clip: str
    name: str
    subject: str
    frames: int
    fps: float
    files: dict[str, FileRef]
    train: tuple[int, int] = (0, 0)
    val: tuple[int, int] = (0, 0)

    def record(self) -> dict[str, Any]:
        """The clip's entry in an index, without its files."""
        entry = {name: getattr(self, name) for name in ("clip", "name", "subject", "frames")}
        return {**entry, "train": list(self.train), "val": list(self.val)}


def clip_items(ingested: StageResult) -> list[Item]:
    """Normalised videos as items of the clip stage."""
    items = []
    for outcome in ingested.done:
        files = {name: outcome.ref(file) for name, file in _ingested_files(outcome)}
        items.append(Item(outcome.id, outcome.name, files, extras={"name": outcome.name}))
    return items


def _ingested_files(outcome: Outcome) -> list[tuple[str, str]]:
    return [(Path(file).stem, file) for file in sorted(outcome.files)]


def cut_clips(cut: StageResult, sources: Iterable[Source]) -> list[Clip]:
    """Every clip that the clip stage cut, named after its source."""
    subjects = {source.sha256[:16]: source.subject for source in sources}
    clips = []
    for outcome in cut.done:
        for row in outcome.row["clips"]:
            folder = f"{row['index']:03d}"
            files = {"video": outcome.ref(f"{folder}/clip.mp4"), "frames": outcome.ref(f"{folder}/frames.parquet")}
            clips.append(
                Clip(
                    clip=digest([outcome.id, files["video"].sha256])[:16],
                    name=f"{outcome.name}-{folder}",
                    subject=subjects[outcome.id],
                    frames=row["frames"],
                    fps=row["fps"],
                    files=files,
                )
            )
    return clips


def per_clip_items(clips: Iterable[Clip], *names: str, **shared: FileRef) -> list[Item]:
    """One item a clip, reading the named files of it and the same shared files."""
    return [
        Item(clip.clip, clip.name, {**{name: clip.files[name] for name in names}, **shared}, extras={"name": clip.name})
        for clip in clips
    ]


def with_outputs(clips: Iterable[Clip], result: StageResult, **files: str) -> list[Clip]:
    """The clips that came through a per-clip stage, with its output files added under the given names."""
    done = {outcome.id: outcome for outcome in result.done}
    return [
        replace(clip, files={**clip.files, **{name: done[clip.clip].ref(file) for name, file in files.items()}})
        for clip in clips
        if clip.clip in done
    ]


def kept_clips(clips: Iterable[Clip], screened: StageResult, purpose: Literal["train", "val"] = "train") -> list[Clip]:
    """The clips that screening kept, with their spans.

    Raises ValueError when none is left to train (or evaluate) on, with reasons, and when training would have nothing
    held out to choose its checkpoint by.
    """
    row = screened.outcomes[0].row
    spans = {entry["clip"]: entry for entry in row["kept"]}
    kept = [
        replace(clip, train=tuple(spans[clip.clip]["train"]), val=tuple(spans[clip.clip]["val"]))
        for clip in clips
        if clip.clip in spans
    ]
    if not any(getattr(clip, purpose)[1] > getattr(clip, purpose)[0] for clip in kept):
        reasons = [f"{entry['name']}: {'; '.join(entry['reasons'])}" for entry in row["rejected"]][:5]
        raise ValueError(
            f"no clip is left to {'train on' if purpose == 'train' else 'evaluate'}. "
            + (" | ".join(reasons) or "Every source was set aside")
            + ". "
            "See quarantine.parquet and summary.json in the work folder; thresholds are under `screening` in the recipe"
        )
    if not any(clip.val[1] - clip.val[0] > 1 for clip in kept):
        raise ValueError(
            f"nothing is held out of the {len(kept)} clips of {len({clip.subject for clip in kept})} subjects, so no "
            "checkpoint could be chosen and nothing evaluated. Add videos of others, or set split.by=tail to hold out "
            "the end of every clip (split.holdout says how much)"
        )
    return kept


def whole_inputs(clips: Iterable[Clip], *names: str) -> dict[str, FileRef]:
    """Input files of a stage that reads many clips at once, as `clips/<clip>/<file>`."""
    return {f"clips/{clip.clip}/{name}": clip.files[name] for clip in clips for name in names}


def folder_inputs(store: Store, folder: Path, prefix: str) -> dict[str, FileRef]:
    """The files of a folder outside the store as inputs `<prefix>/…`; ValueError when there is none."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give the folder of a model, such as WORK/model after a retrain")
    hashes = HashMemory(store)
    refs = {}
    for path in sorted(path for path in folder.resolve().rglob("*") if path.is_file()):
        sha256, size = hashes.digest(path)
        refs[f"{prefix}/{path.relative_to(folder.resolve()).as_posix()}"] = FileRef(str(path), sha256, size)
    hashes.save()
    return refs


def write_index(path: Path, files: dict[str, Path], clips: Sequence[dict[str, Any]], **header: Any) -> Path:
    """Write the index that training and evaluation read: a header, and per clip its record and the paths of its files.

    `files` are local paths under `clips/<clip>/<file>`. Paths in the index are absolute: it belongs to one run.
    """
    entries = []
    for record in clips:
        prefix = f"clips/{record['clip']}/"
        paths = {name.removeprefix(prefix): str(file) for name, file in files.items() if name.startswith(prefix)}
        entries.append({**record, **paths})
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps({"schema": INDEX_SCHEMA, **header, "clips": entries}, indent=1))
    os.replace(temporary, path)
    return path
