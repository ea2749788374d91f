"""The data set of a run, packed for a machine that trains and has only the library: see `fye_model/training/pack.py`.

What a landmark model or a video decoder is needed for is done here, and the rest is left to that machine: its result
comes back as a model folder and as pictures that `evaluate` scores.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from fye_model.config import Config, Recipe
from fye_model.files import file_digest, json_digest, whole_folder
from fye_model.landmarks.mouths import measure_mouths
from fye_model.landmarks.placement import measure_placement
from fye_model.landmarks.poses import measure_poses
from fye_model.landmarks.table import read_landmarks
from fye_model.pictures import write_pictures
from fye_model.training import pack
from fye_model.training.pack import Pack, PackedClip
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Outcome, Worker
from tasks.engine.stage import Context, Stage
from tasks.engine.store import Store
from tasks.evaluate import file_stem
from tasks.media.read import read_frames
from tasks.results.crossing import cross_pairs, load_cross
from tasks.results.reenactment import HeldOut, load_clip, read_held_out, training_index
from tasks.workspace.dataset import ClipRecord, ClipSet

QUALITY = 90  # of the WebP pictures: 1.4 grey levels of mean error, a tenth of the lossless size
_FOLDER = "pack/"


class PackSettings(Config):
    """The whole recipe: the pack carries it along."""

    recipe: Recipe
    quality: int = QUALITY


class PackRow(Config):
    """Clips packed, and reenactments that are to be made of them."""

    clips: int
    reenactments: int


class PackWorker(Worker[ClipSet, PackRow]):
    """Writes `pack/`."""

    def __init__(self, settings: PackSettings, context: Context) -> None:
        self.recipe, self.quality, self.context = settings.recipe, settings.quality, context

    def process(self, item: Given[ClipSet]) -> PackRow:
        """Pack `clips/…`."""
        asset, facts, out = self.context.landmarker, item.facts, item.out / "pack"
        with training_index(item, asset) as index:
            held_out = read_held_out(index)
        packed = []
        for record in facts.clips:
            name = file_stem(record.clip)
            _pack_clip(record, item.files, out / "clips" / name, self.quality)
            packed.append(PackedClip.model_validate(record.model_dump() | {"clip": name}))
        reenactments = []
        for name, reference, drawn in _reenactments(held_out, self.recipe):
            folder = out / pack.REENACTMENTS / file_stem(name)
            folder.mkdir(parents=True)
            write_pictures(folder / pack.REFERENCE, reference[None], quality=None)
            write_pictures(folder / pack.DRAWN, drawn, quality=None)
            reenactments.append(folder.name)
        if asset.has_matrix:
            shutil.copyfile(asset.path, out / pack.GEOMETRY)
        tables = [read_landmarks(path) for name, path in sorted(item.files.items()) if name.endswith("/landmarks")]
        Pack(
            content=json_digest({name: file_digest(path) for name, path in item.files.items()}),
            recipe=self.recipe,
            landmark_model=facts.landmark_model,
            geometry="face_landmarker.task" if asset.has_matrix else "mean_mesh",
            size=facts.size,
            factor=facts.factor,
            fps=facts.fps,
            faces=measure_placement(tables),
            poses=measure_poses(tables),
            mouths=measure_mouths(tables),
            clips=tuple(packed),
            reenactments=tuple(reenactments),
        ).write(out)
        return PackRow(clips=len(packed), reenactments=len(reenactments))


PACK = Stage(
    "pack",
    "3",
    settings=lambda recipe: PackSettings(recipe=recipe),
    reads={"clips/*/video": Kind.CLIP, "clips/*/landmarks": Kind.LANDMARKS, "clips/*/masks": Kind.MASKS},
    writes={f"{_FOLDER}*": Kind.PACK},
    row=PackRow,
    open=PackWorker,
    resources=Resources(memory_gib=2, pooled=False),
    uses_landmarker=True,
)


def _pack_clip(record: ClipRecord, files: Mapping[str, Path], out: Path, quality: int) -> None:
    prefix = f"clips/{record.clip}/"
    out.mkdir(parents=True, exist_ok=True)
    write_pictures(out / pack.FRAMES, read_frames(files[f"{prefix}video"]), quality)
    shutil.copyfile(files[f"{prefix}landmarks"], out / pack.LANDMARKS)
    shutil.copyfile(files[f"{prefix}masks"], out / pack.MASKS)


def _reenactments(held_out: HeldOut, recipe: Recipe) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """What `evaluate` will score: name, reference (h, w, 3) and drawn landmarks (f, h, w, 3) of clips and pairs."""
    config, variant = recipe.evaluation, recipe.train.landmark_image.variant
    clips = held_out.spread(config.clips)
    for entry in clips:
        clip = load_clip(held_out, entry, config.frames, variant, config)
        yield entry.clip, clip.frames[0], clip.pictures[1 : 1 + config.frames]
    for pair in cross_pairs(held_out, clips, config.cross_pairs):
        crossed = load_cross(held_out, pair, config.frames, variant, config, recipe.sampling)
        yield pair.id, crossed.portrait, crossed.landmarks


def write_pack(store: Store, packed: Outcome[PackRow], target: Path) -> Path:
    """Copy a finished pack out of the store, whole or not at all; an older one there is replaced."""
    with whole_folder(target) as temporary:
        for name, ref in packed.refs(_FOLDER).items():
            path = temporary / name.removeprefix(_FOLDER)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(store.read_bytes(ref.path))
    return target
