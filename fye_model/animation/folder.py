"""Model folders: a checkpoint's networks and the frozen parts put together as one pipeline that anybody can load.

Beside diffusers' own files a folder has `fye.json` (`description.py`): all that animation shares with training.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fye_model.animation.description import ModelDescription
from fye_model.config import NoiseConfig
from fye_model.files import whole_folder, write_json

if TYPE_CHECKING:  # the networks are slow to import
    from fye_model.animation.pipeline import FollowYourEmojiPipeline

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrozenParts:
    """What every checkpoint shares: folders of the autoencoder and the image encoder, and the forward process."""

    vae: Path
    image_encoder: Path
    noise: NoiseConfig


def assemble_pipeline(checkpoint: Path, parts: FrozenParts, device: str) -> Any:
    """A silent pipeline of a checkpoint's networks and the parts that training never changes."""
    # the networks are slow to import
    from diffusers import AutoencoderKL
    from transformers import CLIPImageProcessor, CLIPVisionModel

    from fye_model.animation.pipeline import FollowYourEmojiPipeline
    from fye_model.diffusion import make_scheduler
    from fye_model.networks import Networks

    networks = Networks.load(checkpoint)
    pipeline: Any = FollowYourEmojiPipeline(
        vae=AutoencoderKL.from_pretrained(parts.vae),
        image_encoder=CLIPVisionModel.from_pretrained(parts.image_encoder),
        feature_extractor=CLIPImageProcessor.from_pretrained(parts.image_encoder),
        appearance_net=networks.appearance_net,
        denoiser=networks.denoiser,
        landmark_encoder=networks.landmark_encoder,
        image_prompt=networks.image_prompt,
        scheduler=make_scheduler(parts.noise),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def load_pipeline(
    folder: Path, device: str, log: Callable[[str], None] = logger.info, compile: bool = False
) -> FollowYourEmojiPipeline:
    """The pipeline of a model folder, silent; on a GPU in half precision and on the fast path, as it is animated with.

    Where the card has too little free memory for a window, work is done in parts (`memory`), which is said.
    compile: hand the denoiser's blocks to `torch.compile` as well (`enable_fast_path`). log: takes what is in use.
    """
    import torch

    from fye_model.animation.memory import GIB, Saving, choose_saving, free_bytes, place
    from fye_model.animation.pipeline import FollowYourEmojiPipeline

    on_gpu = device.startswith("cuda")
    precision = torch.float16 if on_gpu else torch.float32
    pipeline = FollowYourEmojiPipeline.from_pretrained(str(folder), dtype=precision)
    pipeline.set_progress_bar_config(disable=True)
    if on_gpu and pipeline.description is not None:
        free = free_bytes(torch.device(device))
        pipeline.saving, needs = choose_saving(pipeline, free)
        if pipeline.saving:
            whole, saved = (needs[saving] / GIB for saving in (Saving.NOTHING, pipeline.saving))
            log(
                f"{free / GIB:.1f} GiB of graphics memory are free, and a window takes about {whole:.1f}: "
                f"{pipeline.saving.words} (about {saved:.1f})"
            )
    place(pipeline, torch.device(device))
    if on_gpu:
        log(str(pipeline.enable_fast_path(compile=compile)))
    return pipeline


def save_model(pipeline: Any, target: Path, description: ModelDescription) -> None:
    """Write a model folder whole or not at all, with what it says about itself; an older one is replaced."""
    pipeline.description = description
    with whole_folder(target) as temporary:
        pipeline.save_pretrained(str(temporary), safe_serialization=True)
        _forget_places(temporary)


def _forget_places(folder: Path) -> None:
    """Take out where diffusers found a model: equal models give equal folders, wherever they were made."""
    for path in folder.rglob("config.json"):
        values = json.loads(path.read_text())
        if values.pop("_name_or_path", None) is not None:
            write_json(path, values, indent=2)


def check_model(folder: Path) -> None:
    """Raise ValueError where there is no model folder, before hours of work for its evaluation."""
    if not (folder / "model_index.json").is_file():
        problem = "has no model_index.json" if folder.is_dir() else "is not a folder"
        raise ValueError(f"{folder} {problem}; give the folder of a model, such as WORK/model after a retrain")
