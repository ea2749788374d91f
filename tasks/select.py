"""Selection among checkpoints: reenact a few held-out clips with each, rank by a declared rule, assemble the winner.

The small reenactment has the same protocol as the evaluation, only shorter. Its clips are held out from training but
not from this choice, which the result says.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fye_model.config import EvaluationConfig, NoiseConfig, SamplingConfig, SelectionConfig
from fye_model.evaluation.aggregate import aggregate, is_better
from fye_model.evaluation.metrics import FrameScores
from fye_model.evaluation.ranking import RULE, order, weighted_ranks
from fye_model.landmarks.drawing import Variant
from tasks.assets import LandmarkerAsset
from tasks.detector import FaceLandmarker
from tasks.pictures import write_atomic
from tasks.plots import selection_png
from tasks.reenactment import (
    check_landmark_model,
    evaluated_size,
    load_clip,
    protocol,
    read_held_out,
    score_clip,
)

SCHEMA = 1
MODEL_FOLDER = "model"
_COMPARED = ("l1", "psnr", "ssim", "landmark_error")


@dataclass(frozen=True)
class FrozenParts:
    """What every checkpoint shares: folders of the autoencoder and the image encoder, and the forward process."""

    vae: Path
    image_encoder: Path
    noise: NoiseConfig


def select(
    checkpoints: Sequence[Path],
    index_path: Path,
    config: SelectionConfig,
    sampling: SamplingConfig,
    evaluation: EvaluationConfig,
    parts: FrozenParts,
    landmarker: LandmarkerAsset,
    out_dir: Path,
    log: Callable[[str], None] = print,
    *,
    variant: Variant = "expression_aware",
    device: str = "cpu",
    assemble: bool = True,
) -> dict[str, Any]:
    """Rank `checkpoints` (in the order in which training wrote them) and put the winner together as a model folder.

    Each needs its `validation.json` {"loss": ...} of training. Writes selection.json, selection.parquet,
    selection.png and, with `assemble`, the folder `model/` into `out_dir`. Returns what selection.json holds: the rule,
    a row per checkpoint, the winner, the first checkpoint, the baseline of the same protocol, and whether the winner
    beats both. Raises ValueError for no checkpoints, a missing or non-finite loss, or nothing held out.
    """
    if not checkpoints:
        raise ValueError("no checkpoints to choose from: training wrote none (see its log)")
    losses = [read_validation_loss(checkpoint) for checkpoint in checkpoints]
    held_out = read_held_out(index_path)
    size = evaluated_size(held_out, evaluation.size)
    sampling = sampling.model_copy(update={"steps": config.sampling_steps})
    clips = [load_clip(held_out, entry, config.frames, variant) for entry in held_out.spread(config.clips)]
    tables: list[dict[str, Any]] = []
    baseline: dict[str, Any] = {}
    with FaceLandmarker(landmarker.path, landmarker.model) as detector:
        check_landmark_model(held_out, detector)
        for number, (checkpoint, loss) in enumerate(zip(checkpoints, losses, strict=True), 1):
            pipeline = assemble_pipeline(checkpoint, parts, device)
            scored = [score_clip(pipeline, clip, detector, sampling, config.frames, size) for clip in clips]
            tables.append(_table([item.model for item in scored]))
            baseline = _table([item.baseline for item in scored])
            log(
                f"select {number}/{len(checkpoints)} {checkpoint.name}: loss {loss:.4f}, "
                f"l1 {tables[-1]['l1']:.4f} (baseline {baseline['l1']:.4f}), "
                f"landmark error {tables[-1]['landmark_error']:.4f} (baseline {baseline['landmark_error']:.4f})"
            )
    rows, best = _ranked(checkpoints, losses, tables, config)
    terms = protocol(held_out, sampling, config.frames, evaluation.size, variant)
    result = {
        "schema": SCHEMA,
        "rule": RULE.format(loss=config.loss_weight, landmark=config.landmark_weight),
        "protocol": {**terms, "clips": len(clips), "clip_ids": [clip.clip for clip in clips]},
        "rows": rows,
        "winner": rows[best]["checkpoint"],
        "first": rows[0]["checkpoint"],
        "baseline": baseline,
        "beats_baseline": _beats(rows[best], baseline),
        "beats_first": _beats(rows[best], rows[0]) if best else None,
        "note": "The clips of this table are held out from training, but the winner was chosen on them.",
    }
    out_dir.mkdir(parents=True, exist_ok=True)
    if assemble:
        description = {
            "schema": SCHEMA,
            "checkpoint": checkpoints[best].name,
            "landmark_model": held_out.landmark_model,
            "landmark_variant": variant,
            "size": held_out.size,
            "fps": held_out.fps,
        }
        _save_model(assemble_pipeline(checkpoints[best], parts, "cpu"), out_dir / MODEL_FOLDER, description)
    _write_parquet(rows, out_dir / "selection.parquet")
    write_atomic(out_dir / "selection.png", selection_png(rows, baseline))
    # strict JSON, last: its presence says that all the rest is there
    write_atomic(out_dir / "selection.json", _json(result))
    return result


def read_validation_loss(checkpoint: Path) -> float:
    """The loss that training measured on held-out batches for this checkpoint."""
    path = checkpoint / "validation.json"
    try:
        loss = float(json.loads(path.read_text())["loss"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path}: expected {{"loss": number}} of the training\'s validation ({error!r}); '
            "set train.*.validate_every so that every checkpoint is validated"
        ) from error
    if not np.isfinite(loss):
        raise ValueError(f"{path}: the validation loss is {loss}; training diverged")
    return loss


def assemble_pipeline(checkpoint: Path, parts: FrozenParts, device: str) -> Any:
    """A pipeline of a checkpoint's networks and the parts that training never changes."""
    # the networks are slow to import
    from diffusers import AutoencoderKL
    from transformers import CLIPImageProcessor, CLIPVisionModel

    from fye_model.animation.pipeline import FollowYourEmojiPipeline
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


def make_scheduler(noise: NoiseConfig) -> Any:
    """DDIM over the forward process that training used: trailing spacing, no clipping of samples. [release]"""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=noise.train_timesteps,
        beta_start=noise.beta_start,
        beta_end=noise.beta_end,
        beta_schedule=noise.beta_schedule,
        rescale_betas_zero_snr=noise.zero_terminal_snr,
        prediction_type=noise.prediction,
        timestep_spacing="trailing",
        clip_sample=False,
    )


def _ranked(
    checkpoints: Sequence[Path], losses: Sequence[float], tables: Sequence[dict[str, Any]], config: SelectionConfig
) -> tuple[list[dict[str, Any]], int]:
    """A row per checkpoint, in training's order, and the index of the winner."""
    errors = [_number(table["landmark_error"]) for table in tables]
    scores = weighted_ranks(losses, errors, config.loss_weight, config.landmark_weight)
    places = order(scores, [_number(table["l1"]) for table in tables])
    rows = [
        {
            "checkpoint": checkpoint.name,
            "step": _step(checkpoint, number),
            "loss": loss,
            **table,
            "score": score,
            "rank": places.index(number) + 1,
        }
        for number, (checkpoint, loss, table, score) in enumerate(zip(checkpoints, losses, tables, scores, strict=True))
    ]
    return rows, places[0]


def _table(scores: Sequence[FrameScores]) -> dict[str, Any]:
    table = aggregate([item.summary() for item in scores])
    flat: dict[str, Any] = {name: table[name]["mean"] for name in (*_COMPARED, "landmark_error_found")}
    return flat | {name: table[name] for name in ("frames", "no_face_in_result", "no_face_in_truth")}


def _beats(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, bool | None]:
    return {name: is_better(name, ours[name], theirs[name]) for name in _COMPARED}


def _save_model(pipeline: Any, target: Path, description: dict[str, Any]) -> None:
    """Write the pipeline beside `target`, sync it, then give it its name; an older one is replaced."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        pipeline.save_pretrained(str(temporary), safe_serialization=True)
        write_atomic(temporary / "fye.json", _json(description))
        for path in temporary.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        if target.exists():
            os.replace(target, old)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _write_parquet(rows: Sequence[dict[str, Any]], path: Path) -> None:
    floats = ("loss", *_COMPARED, "landmark_error_found", "score")
    plain = [{**row, **{name: _number(row[name]) for name in floats}} for row in rows]
    table = pa.Table.from_pylist(plain).replace_schema_metadata({"schema_version": "fye-selection-1"})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(path, sink.getvalue())


def _step(checkpoint: Path, number: int) -> int:
    digits = re.search(r"(\d+)$", checkpoint.name)
    return int(digits.group(1)) if digits else number


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()
