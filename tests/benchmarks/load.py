"""Training samples beside a plain loader that opens its clip's files for each: `python -m tests.benchmarks.load`.

Windows of 16 frames at 512x512 out of clips of 250 frames, made on the spot; processor seconds of one process. Both
read the same windows and draw the same landmark pictures.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from fye_model.config import TrainStageConfig
from fye_model.landmarks.drawing import draw_landmarks, landmark_points
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.table import LandmarkSequence, read_landmarks, read_masks, write_landmarks, write_masks
from fye_model.training.data import TrainingSamples
from fye_model.training.index import read_index
from tests.benchmarks.draw import faces

SIZE, SIDE, FRAMES, CLIPS, WINDOW = 512, 64, 250, 3, 16
_HEADER = {"schema": 1, "landmark_model": "bench:0", "size": SIZE, "factor": 8, "fps": 25.0, "geometry": "mean_mesh"}


def make_clips(folder: Path, token_dim: int = 128) -> Path:
    """The index of a small data set of full-size files."""
    random = np.random.default_rng(0)
    pixels = faces()[:FRAMES]
    points = np.concatenate([pixels / SIZE, np.zeros((FRAMES, 478, 1))], axis=2).astype(np.float32)
    none = np.zeros(FRAMES, bool)
    sequence = LandmarkSequence(
        points, None, None, ~none, none, np.arange(FRAMES) / 25, 25.0, SIZE, SIZE, str(_HEADER["landmark_model"])
    )
    clips = []
    for number in range(CLIPS):
        place = folder / str(number)
        place.mkdir()
        write_landmarks(sequence, place / "landmarks.parquet")
        write_masks(place / "masks.parquet", *random.random((2, FRAMES, SIDE, SIDE), dtype=np.float32))
        latents = torch.from_numpy(random.standard_normal((FRAMES, 4, SIDE, SIDE), dtype=np.float32)).half()
        tokens = torch.from_numpy(random.standard_normal((16, 257, token_dim), dtype=np.float32)).half()
        references = torch.arange(0, FRAMES, FRAMES // 16)[:16]
        save_file(
            {"latents": latents, "image_tokens": tokens, "reference_frames": references}, place / "latents.safetensors"
        )
        entry = {"clip": f"id{number}", "name": str(number), "subject": str(number), "frames": FRAMES}
        files = {"landmarks": "landmarks.parquet", "masks": "masks.parquet", "latents": "latents.safetensors"}
        spans = {"train": [0, FRAMES], "val": [0, 0]}
        clips.append({**entry, **spans, **{name: f"{number}/{file}" for name, file in files.items()}})
    (folder / "index.json").write_text(json.dumps({**_HEADER, "clips": clips}))
    return folder / "index.json"


def plain_sample(place: Path, start: int, geometry: FaceGeometry) -> dict[str, np.ndarray]:
    """One window, everything opened anew."""
    frames = np.arange(start, start + WINDOW)
    sequence = read_landmarks(place / "landmarks.parquet")
    expression, face = read_masks(place / "masks.parquet")
    tensors = load_file(place / "latents.safetensors")
    points = landmark_points(sequence, "expression_aware", geometry)[frames]
    return {
        "latents": tensors["latents"][frames].float().numpy(),
        "tokens": tensors["image_tokens"][0].float().numpy(),
        "masks": np.stack([expression[frames], face[frames]]),
        "landmarks": draw_landmarks(points, SIZE, SIZE),
    }


def ratio(samples: int = 24) -> float:
    """Processor seconds of our samples over those of the plain loader's."""
    geometry = FaceGeometry.mean_mesh()
    with tempfile.TemporaryDirectory() as folder:
        index = make_clips(Path(folder))
        config = TrainStageConfig(steps=samples + 1, batch_size=CLIPS, frames=WINDOW)
        ours = TrainingSamples(read_index(index), config, None, 1000)
        for item in range(CLIPS):  # clips are hot after their first sample, in training too
            ours[0, item]
        seconds = [0.0, 0.0]
        for number in range(samples):
            begun = time.process_time()
            ours[1 + number, number % CLIPS]
            seconds[0] += time.process_time() - begun
            begun = time.process_time()
            plain_sample(Path(folder) / str(number % CLIPS), number, geometry)
            seconds[1] += time.process_time() - begun
    return seconds[0] / seconds[1]


if __name__ == "__main__":
    print(f"training samples take {ratio():.3f} of a plain loader's processor seconds")
