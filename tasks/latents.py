"""Latents of all frames of a clip, and image tokens of candidate reference frames: encoded once, read by training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from fye_model.config import Config, LatentConfig, Recipe
from fye_model.landmarks.table import read_landmarks
from fye_model.training.records import JITTERED, LATENTS_FILE, LatentRow, of_crop
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Nothing, Quarantine, StageResult, Worker
from tasks.engine.stage import Context, Stage
from tasks.media.read import read_frames
from tasks.workspace.dataset import Clip, with_outputs

if TYPE_CHECKING:
    from fye_model.training.latents import LatentEncoder

_OF_A_CROP = {"landmarks": "landmarks.parquet", "masks": "masks.parquet", "latents": LATENTS_FILE}


class LatentSettings(Config):
    """What is encoded, and how the other crops' masks are made."""

    latents: LatentConfig
    expression_radius: float


class LatentWorker(Worker[Nothing, LatentRow]):
    """Encodes clip after clip with one autoencoder and one image encoder, loaded when the first clip names them."""

    def __init__(self, settings: LatentSettings, context: Context) -> None:
        self.config, self.radius, self.device = settings.latents, settings.expression_radius, context.device
        self._loaded: tuple[tuple[Path, Path], LatentEncoder] | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loaded = None

    def process(self, item: Given[Nothing]) -> LatentRow:
        """Write latents.safetensors of `video`, and jitter-<n>/ of its other crops.

        Raises `Quarantine` (no_face) when no frame is valid.
        """
        # slow to import, and a cached run needs none
        from fye_model.training.latents import LatentEncoder, candidate_references, write_jittered, write_latents

        folders = (item.folder("vae"), item.folder("image_encoder"))
        if self._loaded is None or self._loaded[0] != folders:
            half = self.config.precision == "fp16"  # whoever stores single precision wants to have it
            self._loaded = (folders, LatentEncoder(*folders, device=self.device, half=half))
        name = item.name
        frames = read_frames(item.files["video"])
        sequence = read_landmarks(item.files["landmarks"])
        valid = sequence.valid
        if len(frames) != len(valid):
            raise ValueError(
                f"{name}: {len(frames)} frames in the video, landmarks of {len(valid)}; run landmarks again"
            )
        references = candidate_references(valid, self.config.references)
        if not len(references):
            raise Quarantine(
                "no_face", f"{name}: none of its {len(valid)} frames has a face, so none can be a reference"
            )
        encoder = self._loaded[1]
        row = write_latents(item.out / LATENTS_FILE, encoder, frames, references, self.config)
        write_jittered(item.out, encoder, frames, sequence, self.config, self.radius)
        return row


def _settings(recipe: Recipe) -> LatentSettings:
    return LatentSettings(latents=recipe.latents, expression_radius=recipe.landmarks.expression_radius)


def training_clips(clips: Iterable[Clip], encoded: StageResult[LatentRow]) -> list[Clip]:
    """The clips that have latents, each followed by its other crops, which only training sees.

    A crop is a clip of its own by the name of `<clip>~<number>`, of the same subject, with nothing held out.
    """
    outcomes = {outcome.id: outcome for outcome in encoded.done}
    found = []
    for clip in with_outputs(clips, encoded, latents=LATENTS_FILE):
        found.append(clip)
        files = outcomes[clip.id].refs(JITTERED)
        for number in range(1, len(files) // len(_OF_A_CROP) + 1):
            names = {name: files[f"{JITTERED}{number}/{file}"] for name, file in _OF_A_CROP.items()}
            other = of_crop(clip.id, clip.record.name, number)
            found.append(Clip(clip.record.model_copy(update=other), names))
    return found


LATENTS = Stage(
    "latents",
    "2",
    settings=_settings,
    reads={
        "video": Kind.CLIP,
        "landmarks": Kind.LANDMARKS,
        "vae/*": Kind.AUTOENCODER,
        "image_encoder/*": Kind.IMAGE_ENCODER,
    },
    writes={
        LATENTS_FILE: Kind.LATENTS,
        f"{JITTERED}*/{LATENTS_FILE}?": Kind.LATENTS,
        f"{JITTERED}*/landmarks.parquet?": Kind.LANDMARKS,
        f"{JITTERED}*/masks.parquet?": Kind.MASKS,
    },
    row=LatentRow,
    open=LatentWorker,
    resources=Resources(gpus=1, memory_gib=4),
    tools=("torch", "diffusers", "transformers"),
)
