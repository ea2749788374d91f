"""Clips of a face and a real, tiny, untrained model: what selection, evaluation and the report work on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fye_model.config import NoiseConfig
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.table import LandmarkSequence, write_landmarks
from tasks.faces.detector import FaceLandmarker
from tasks.faces.follow import load_geometry
from tasks.faces.landmarker import LandmarkerAsset
from tasks.media.read import read_frames
from tasks.media.write import write_video
from tasks.workspace.dataset import ClipRecord, ClipSet
from tests.debug import DEBUG

SIZE, FRAMES = 128, 10


@dataclass(frozen=True)
class HeldOutData:
    """A training index over two clips whose last frames are held out."""

    index: Path
    landmarker: LandmarkerAsset

    def inputs(self) -> tuple[dict[str, Path], ClipSet]:
        """The same data as a whole stage's files and facts."""
        index = json.loads(self.index.read_text())
        folder = self.index.parent
        files = {
            f"clips/{clip['clip']}/{name}": folder / clip[name]
            for clip in index["clips"]
            for name in ("landmarks", "video")
        }
        kept = ClipRecord.model_fields
        records = tuple(ClipRecord(**{name: clip[name] for name in kept}) for clip in index["clips"])
        header = {name: index[name] for name in ("size", "factor", "fps", "landmark_model")}
        return files, ClipSet(**header, clips=records)


@dataclass(frozen=True)
class TinyModels:
    """Folders of frozen parts, and of checkpoints (whose networks differ by their random seed)."""

    parts: Any  # fye_model.animation.folder.FrozenParts
    checkpoints: list[Path]  # of steps 10, 20, 30 with losses 0.9, 0.5, 0.7


@pytest.fixture(scope="session")
def held_out_data(
    sample_clips: list[Path], landmarker_asset: LandmarkerAsset, tmp_path_factory: pytest.TempPathFactory
) -> HeldOutData:
    folder = tmp_path_factory.mktemp("held_out")
    clips = []
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model) as detector:
        for name, path in zip(("talk", "turn"), sample_clips, strict=True):
            frames = _face_crop(read_frames(path, slice(0, 2 * FRAMES, 2)), detector)
            (folder / name).mkdir()
            write_video(folder / name / "clip.mp4", frames, 25.0)
            _write_clip_landmarks(folder / name, detector, load_geometry(landmarker_asset))
            clips.append(
                {
                    "clip": f"id-{name}",
                    "name": f"{name}<b>-000",  # a name that would break a page which forgets to escape
                    "subject": name,
                    "frames": FRAMES,
                    "train": [0, 3],
                    "val": [3, FRAMES],
                    "landmarks": f"{name}/landmarks.parquet",
                    "masks": f"{name}/masks.parquet",
                    "latents": f"{name}/latents.safetensors",
                    "video": f"{name}/clip.mp4",
                }
            )
    header = {"schema": 1, "landmark_model": landmarker_asset.model, "size": SIZE, "factor": 8, "fps": 25.0}
    geometry = str(landmarker_asset.path) if landmarker_asset.has_matrix else "mean_mesh"
    index = folder / "index.json"
    index.write_text(json.dumps({**header, "geometry": geometry, "clips": clips}))
    return HeldOutData(index, landmarker_asset)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    import torch

    from fye_model.animation.folder import FrozenParts
    from fye_model.networks import build_networks
    from fye_model.networks.image_encoder import load_image_encoder
    from fye_model.training.autoencoder import build_autoencoder, save_folder

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    save_folder(build_autoencoder(DEBUG.autoencoder, SIZE), folder / "vae")
    load_image_encoder(DEBUG.image_encoder).save(folder / "image_encoder")
    checkpoints = []
    for step, loss in ((10, 0.9), (20, 0.5), (30, 0.7)):
        torch.manual_seed(step)
        checkpoint = folder / f"checkpoint-{step:06d}"
        build_networks(DEBUG.networks, DEBUG.image_encoder.hidden_size).save(checkpoint)
        (checkpoint / "validation.json").write_text(json.dumps({"loss": loss}))
        checkpoints.append(checkpoint)
    return TinyModels(FrozenParts(folder / "vae", folder / "image_encoder", NoiseConfig()), checkpoints)


def _face_crop(frames: np.ndarray, detector: FaceLandmarker) -> np.ndarray:
    """A fixed square around the first frame's face, SIZE pixels wide."""
    height, width = frames.shape[1:3]
    left, top, right, bottom = detector.detect(frames[0])[0].box
    half = min(0.9 * max((right - left) * width, (bottom - top) * height), height / 2, width / 2)
    x = min(max((left + right) / 2 * width, half), width - half)
    y = min(max((top + bottom) / 2 * height, half), height - half)
    box = (x - half, y - half, x + half, y + half)
    return np.stack([np.asarray(Image.fromarray(f).resize((SIZE, SIZE), box=box)) for f in frames])


def _write_clip_landmarks(folder: Path, detector: FaceLandmarker, geometry: FaceGeometry) -> None:
    found = [detector.detect(frame)[0] for frame in read_frames(folder / "clip.mp4")]
    points = np.stack([face.points for face in found])
    everywhere = np.ones(len(found), bool)
    sequence = LandmarkSequence(
        points=points,
        matrix=geometry.estimate(points, SIZE, SIZE)[1].astype(np.float32),  # as the landmark stage does
        blendshapes=None,
        valid=everywhere,
        interpolated=~everywhere,
        time_s=np.arange(len(found)) / 25,
        fps=25.0,
        width=SIZE,
        height=SIZE,
        model=detector.model,
    )
    write_landmarks(sequence, folder / "landmarks.parquet")
