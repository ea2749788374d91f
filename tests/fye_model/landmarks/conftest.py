"""Faces for the landmark tests: synthetic ones from the mean mesh, the release's own results, and real detections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.pupils import place_pupils
from fye_model.landmarks.table import LandmarkSequence

SIZE = 512


def pose(pitch_deg: float = 0.0, yaw_deg: float = 0.0, roll_deg: float = 0.0, at_cm: tuple = (0, 0, -40)) -> np.ndarray:
    """Canonical-to-camera matrix, R = Rz(roll) Ry(yaw) Rx(pitch)."""
    (cp, cy, cr), (sp, sy, sr) = (f(np.radians([pitch_deg, yaw_deg, roll_deg])) for f in (np.cos, np.sin))
    rx = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = rz @ ry @ rx
    matrix[:3, 3] = at_cm
    return matrix


def landmarks_of(vertices: np.ndarray, matrix: np.ndarray, width: int, height: int) -> np.ndarray:
    """Landmarks (f, 478, 3) as a detector would give them for metric faces (f, 468, 3) seen under poses (f, 4, 4).

    Irises lie in the middle of their eye's box, with z as of a flat eye.
    """
    mesh = FaceGeometry.project(vertices, matrix, width, height)
    centred = np.concatenate([mesh, np.zeros((len(mesh), 10, 2))], axis=1)
    for iris, eye in ((slice(468, 473), [33, 133, 159, 145]), (slice(473, 478), [263, 362, 386, 374])):
        centred[:, iris] = mesh[:, eye].mean(axis=1, keepdims=True)
    xy = place_pupils(mesh, centred) / (width, height)
    depth = -(vertices @ matrix[:, :3, :3].transpose(0, 2, 1) + matrix[:, None, :3, 3])[..., 2]
    relative = depth / depth.mean(axis=1, keepdims=True) - 1
    z = relative / (2 * width / height * np.tan(np.radians(63 / 2)))
    z = np.concatenate([z, np.zeros((len(z), 10))], axis=1)
    return np.concatenate([xy, z[..., None]], axis=2)


def sequence_of(points: np.ndarray, width: int = SIZE, height: int = SIZE, **changes) -> LandmarkSequence:
    frames = len(points)
    valid = np.isfinite(points).all(axis=(1, 2))
    fields = {
        "points": points.astype(np.float32),
        "matrix": None,
        "blendshapes": None,
        "valid": valid,
        "interpolated": np.zeros(frames, bool),
        "time_s": np.arange(frames) / 25,
        "fps": 25.0,
        "width": width,
        "height": height,
        "model": "synthetic:1",
    }
    return LandmarkSequence(**{**fields, **changes})


@pytest.fixture(scope="session")
def synthetic() -> SimpleNamespace:
    """Makers of synthetic faces: pose(...), landmarks_of(...), sequence_of(...)."""
    return SimpleNamespace(pose=pose, landmarks_of=landmarks_of, sequence_of=sequence_of)


@pytest.fixture(scope="session")
def turning() -> LandmarkSequence:
    """The mean face turning from -40 to 40 degrees, 9 frames of 512x512."""
    poses = np.stack([pose(yaw_deg=yaw) for yaw in np.linspace(-40, 40, 9)])
    faces = np.repeat(FaceGeometry.mean_mesh().canonical[None], 9, axis=0)
    return sequence_of(landmarks_of(faces, poses, SIZE, SIZE))


@pytest.fixture(scope="session")
def geometry(landmarker_task: Path) -> FaceGeometry:
    return FaceGeometry.from_task(landmarker_task)


@pytest.fixture(scope="session")
def official(shared: Path) -> dict[str, np.ndarray]:
    """What the released code computes on real inputs."""
    path = shared / "parity" / "official_motion.npz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in the sample data")
    with np.load(path) as stored:
        return dict(stored)


@pytest.fixture(scope="session")
def official_sequence(official: dict[str, np.ndarray]) -> Callable[[str], LandmarkSequence]:
    """The stored driver ("driver") or a portrait ("reference/s9.jpg") as a sequence."""

    def build(prefix: str) -> LandmarkSequence:
        points = official[f"{prefix}/lmks"].reshape(-1, 478, 3)
        scores = official[f"{prefix}/bs"].reshape(-1, 51)
        blendshapes = np.concatenate([np.zeros((len(scores), 1)), scores], axis=1).astype(np.float32)
        matrix = official[f"{prefix}/trans_mat"].reshape(-1, 4, 4).astype(np.float32)
        return sequence_of(points, blendshapes=blendshapes, matrix=matrix)

    return build


@pytest.fixture(scope="session")
def detected(shared: Path, landmarker_task: Path) -> dict[str, LandmarkSequence]:
    """MediaPipe's landmarks and matrices on a few frames of real clips: square, portrait, landscape; turned heads."""
    mp = pytest.importorskip("mediapipe")
    vision = mp.tasks.vision
    options = vision.FaceLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=str(landmarker_task)),
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    found = {}
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        for name, stride, count in (("d0", 8, 10), ("d13", 10, 12), ("d9", 6, 8), ("d10", 4, 8)):
            results, size = [], (0, 0)
            for frame in _frames(shared / "data" / "driving" / f"{name}.mp4", stride, count):
                size = frame.shape[1::-1]
                results.append(landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=frame)))
            found[name] = sequence_of(
                np.array([[[p.x, p.y, p.z] for p in r.face_landmarks[0]] for r in results]),
                *size,
                matrix=np.array([r.facial_transformation_matrixes[0] for r in results], np.float32),
                blendshapes=np.array([[b.score for b in r.face_blendshapes[0]] for r in results], np.float32),
                model="face_landmarker_v2",
            )
    return found


def _frames(path: Path, stride: int, count: int) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        frames = []
        for index, frame in enumerate(container.decode(video=0)):
            if index % stride == 0:
                frames.append(np.ascontiguousarray(frame.to_ndarray(format="rgb24")))
            if len(frames) == count:
                break
    return frames
