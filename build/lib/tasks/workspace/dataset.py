"""The clips of a data set on their way from stage to stage, and the index that training and evaluation read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from fye_model.config import Config, Recipe
from fye_model.files import write_json
from tasks.engine.items import Facts, Item, StageResult
from tasks.engine.store import FileRef, HashMemory, Store
from tasks.footage.pieces import Source

INDEX_SCHEMA = 1


class ClipRecord(Config):
    """One square clip of one face: who it shows, how long it is, and the half-open spans that train and validate.

    `clip` is its id everywhere, made of its source's id and its bytes; `name` is for people.
    """

    clip: str
    name: str
    subject: str
    frames: int
    train: tuple[int, int] = (0, 0)
    val: tuple[int, int] = (0, 0)


class ClipSet(Config):
    """The facts of an item that is a whole data set: its clips, and what holds for all of them."""

    size: int  # pixels
    factor: int  # pixels per latent cell
    fps: float
    landmark_model: str
    clips: tuple[ClipRecord, ...]


@dataclass(frozen=True)
class Clip:
    """A clip's record, its files so far by what they are called where they are read, and what footage it is from."""

    record: ClipRecord
    files: Mapping[str, FileRef]
    source: Source | None = None

    @property
    def id(self) -> str:
        return self.record.clip


def clip_set(recipe: Recipe, landmark_model: str, clips: Iterable[Clip]) -> ClipSet:
    """The facts of a stage that reads many clips."""
    return ClipSet(
        size=recipe.clips.size,
        factor=recipe.autoencoder.factor,
        fps=recipe.ingest.fps,
        landmark_model=landmark_model,
        clips=tuple(clip.record for clip in clips),
    )


def per_clip_items(clips: Iterable[Clip], facts: Facts, *names: str, **shared: FileRef) -> list[Item[Facts]]:
    """One item a clip, reading the named files of it and the same shared files."""
    return [
        Item(clip.id, clip.record.name, {**{name: clip.files[name] for name in names}, **shared}, facts)
        for clip in clips
    ]


def with_outputs(clips: Iterable[Clip], result: StageResult[Any], **files: str) -> list[Clip]:
    """The clips that came through a per-clip stage, with its output files added under the given names."""
    done = {outcome.id: outcome for outcome in result.done}
    return [
        replace(clip, files={**clip.files, **{name: done[clip.id].ref(file) for name, file in files.items()}})
        for clip in clips
        if clip.id in done
    ]


def whole_inputs(clips: Iterable[Clip], *names: str) -> dict[str, FileRef]:
    """Input files of a stage that reads many clips at once, as `clips/<clip>/<file>`."""
    return {f"clips/{clip.id}/{name}": clip.files[name] for clip in clips for name in names}


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


def write_index(path: Path, files: Mapping[str, Path], facts: ClipSet, geometry: str) -> Path:
    """Write the index that training and evaluation read: what holds for all, and per clip its record and files.

    `files` are local paths under `clips/<clip>/<file>`; geometry: a .task file, or `mean_mesh`. Paths in the index are
    absolute: it belongs to one run.
    """
    entries: list[JsonValue] = []
    for record in facts.clips:
        prefix = f"clips/{record.clip}/"
        paths = {name.removeprefix(prefix): str(file) for name, file in files.items() if name.startswith(prefix)}
        entries.append({**record.model_dump(mode="json"), **paths})
    header = facts.model_dump(mode="json", exclude={"clips"})
    write_json(path, {"schema": INDEX_SCHEMA, **header, "geometry": geometry, "clips": entries})
    return path
