"""A small data set on disk, made of the real file formats, and networks of the smallest size that has every part."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fye_model.config import TrainStageConfig
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.masks import latent_masks
from fye_model.landmarks.table import LandmarkSequence, write_landmarks, write_masks
from fye_model.training.job import TrainJob
from tests.debug import DEBUG

SIZE, FACTOR, FPS, MODEL = 32, 8, 25.0, "test_model:0"


def write_clip(folder: Path, frames: int, seed: int, invalid: tuple[int, ...] = ()) -> dict[str, str]:
    """Landmarks of a swaying face, its masks, and random latents whose values name their frame."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    geometry = FaceGeometry.mean_mesh()
    matrix = np.tile(np.eye(4), (frames, 1, 1))
    matrix[:, 2, 3] = -40.0
    matrix[:, 0, 3] = np.sin(np.arange(frames) / 3)
    mesh = geometry.project(np.tile(geometry.canonical, (frames, 1, 1)), matrix, SIZE, SIZE)
    points = np.zeros((frames, 478, 3), np.float32)
    points[:, :468, :2] = mesh / SIZE
    points[:, 468:, :2] = mesh[:, 33:34] / SIZE
    valid = np.ones(frames, bool)
    valid[list(invalid)] = False
    points[~valid] = np.nan
    sequence = LandmarkSequence(
        points, None, None, valid, np.zeros(frames, bool), np.arange(frames) / FPS, FPS, SIZE, SIZE, MODEL
    )
    write_landmarks(sequence, folder / "landmarks.parquet")
    write_masks(folder / "masks.parquet", *latent_masks(sequence, 0.02, FACTOR))
    side = SIZE // FACTOR
    picture = np.random.default_rng(0).standard_normal((4, side, side))  # of all clips: there is something to learn
    latents = (picture + 0.1 * random.standard_normal((frames, 4, side, side))).astype(np.float32)
    latents[:, 0, 0, 0] = np.arange(frames) / 64
    references = np.arange(0, frames, 3)
    tokens = random.standard_normal((len(references), 5, 6)).astype(np.float32)
    tokens[:, 0, 0] = references
    save_file(
        {
            "latents": torch.from_numpy(latents),
            "image_tokens": torch.from_numpy(tokens),
            "reference_frames": torch.from_numpy(references),
        },
        folder / "latents.safetensors",
    )
    return {name: f"{folder.name}/{name}.{end}" for name, end in _FILES.items()}


_FILES = {"landmarks": "parquet", "masks": "parquet", "latents": "safetensors"}


def clip_record(name: str, subject: str, frames: int, train: list[int], val: list[int]) -> dict[str, Any]:
    return {"clip": f"id-{name}", "name": name, "subject": subject, "frames": frames, "train": train, "val": val}


def write_index(path: Path, clips: list[dict[str, Any]]) -> Path:
    header = {"schema": 1, "landmark_model": MODEL, "size": SIZE, "factor": FACTOR, "fps": FPS, "geometry": "mean_mesh"}
    path.write_text(json.dumps({**header, "clips": clips}))
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """index.json of three clips of two subjects; `b` has two invalid frames, all keep their last 6 frames for val."""
    folder = tmp_path_factory.mktemp("data")
    clips = []
    for name, subject, frames, invalid in (("a", "anna", 24, ()), ("b", "ben", 30, (10, 27)), ("c", "ben", 20, ())):
        files = write_clip(folder / name, frames, seed=len(clips), invalid=invalid)
        clips.append({**clip_record(name, subject, frames, [0, frames - 6], [frames - 6, frames]), **files})
    return write_index(folder / "index.json", clips)


@pytest.fixture
def make_job(data: Path, tmp_path: Path) -> Callable[..., TrainJob]:
    """A job on the small data set; keywords are settings of the training stage, or of the job where they are its."""

    def make(stage: int = 1, output: str = "out", job: dict[str, Any] | None = None, **train: Any) -> TrainJob:
        settings = {
            "steps": 4,
            "batch_size": 4,
            "frames": 1 if stage == 1 else 4,
            "learning_rate": 1e-2,
            "checkpoint_every": 2,
            "validate_every": 2,
            "validation_batches": 1,
            "precision": "fp32",
            **train,
        }
        fields = {
            "index": data,
            "networks": DEBUG.networks,
            "device": "cpu",
            "threads": 1,
            "log_every": 1,
            **(job or {}),
        }
        return TrainJob(stage=stage, output=tmp_path / output, train=TrainStageConfig(**settings), **fields)

    return make
