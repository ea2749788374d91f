"""Compute our own mean face: `python -m fye_model.landmarks.mean_mesh LANDMARKS.parquet... --output FILE`.

Landmark models without a canonical face of their own get their pose from this one (`FaceGeometry.mean_mesh`). Shapes
are averaged by generalised Procrustes analysis, perspective undone with the current mean; every clip counts the same.
Conventions of the result: centimetres, with the eye centres an adult's mean pupil distance apart; left and right
mirror each other; the line from the ears to the nose's base falls by 18 degrees, as it does in MediaPipe's canonical
face, so that pitch means the same; the origin lies between the ears, half-way up the face.
Points that keep their place under expression weigh more in the pose: weights are inverse residual variances.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from fye_model.files import write_atomic
from fye_model.landmarks import topology
from fye_model.landmarks.geometry import FaceGeometry, weighted_procrustes
from fye_model.landmarks.table import LandmarkSequence, read_landmarks, sequences_same_model

_PUPIL_DISTANCE_CM = 6.3  # adults' mean interpupillary distance
_ROUNDS = 10  # on eleven faces, the last two rounds move no vertex by more than 1e-4 cm
_NOSE_BASE_FALL_DEG = 18.0
_FOREHEAD, _CHIN, _NOSE_BASE, _EARS = 10, 152, 2, (234, 454)


def compute_mean_mesh(sequences: Sequence[LandmarkSequence], max_frames: int = 60) -> FaceGeometry:
    """Mean face over clips, from at most `max_frames` evenly spaced valid frames of each. ValueError without faces."""
    sequences_same_model([sequence.model for sequence in sequences])
    chosen = [_spread(sequence, max_frames) for sequence in sequences if sequence.valid.any()]
    if not chosen:
        raise ValueError("no valid frame in any of the landmark files: no mean face to compute")
    everyone = np.arange(topology.MESH_POINTS)
    # Round 0: no perspective, one face as the start, its z towards the camera and y up.
    flat = [_orthographic(sequence) for sequence in chosen]
    mean, weights = flat[0][0], np.ones(topology.MESH_POINTS)
    mirror: np.ndarray | None = None
    for round_index in range(_ROUNDS + 1):
        if round_index == 0:
            shapes = [_aligned(faces, mean, weights) for faces in flat]
        else:
            geometry = FaceGeometry(mean, everyone, weights)
            # The frame's own face in the mean's pose and size: already aligned, and free of perspective.
            shapes = [geometry.estimate(clip.points, clip.width, clip.height)[0] for clip in chosen]
        mean = _upright(np.mean([faces.mean(axis=0) for faces in shapes], axis=0))
        mirror = _mirror_indices(mean) if mirror is None else mirror
        mean = _upright((mean + mean[mirror] * [-1, 1, 1]) / 2)
        weights = _stability(shapes, mirror)
    return FaceGeometry(mean, everyone, weights)


def write_mean_mesh(geometry: FaceGeometry, path: str | Path, source: str) -> None:
    """Store a mean face as a small npz (single precision), atomically. `source` says what it was computed from."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        canonical=geometry.canonical.astype(np.float32),
        basis=geometry.basis.astype(np.int16),
        weights=geometry.weights.astype(np.float32),
        source=np.array(source),
    )
    write_atomic(Path(path), buffer.getvalue())


def _spread(sequence: LandmarkSequence, count: int) -> LandmarkSequence:
    usable = np.flatnonzero(sequence.valid & ~sequence.interpolated)
    usable = usable if len(usable) else np.flatnonzero(sequence.valid)
    picks = np.linspace(0, len(usable) - 1, min(count, len(usable))).round().astype(int)
    return sequence.select(usable[picks])


def _orthographic(sequence: LandmarkSequence) -> np.ndarray:
    aspect = sequence.width / sequence.height
    return sequence.points[:, : topology.MESH_POINTS].astype(np.float64) * [aspect, -1, -aspect]


def _aligned(faces: np.ndarray, mean: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Faces (f, 468, 3) moved, turned and scaled onto the mean."""
    rotation, scale, translation = weighted_procrustes(mean, faces, weights)
    result: np.ndarray = (faces - translation[:, None]) @ rotation / scale[:, None, None]
    return result


def _upright(mean: np.ndarray) -> np.ndarray:
    """The mean in our conventions: eye line along x, head upright, size, origin."""
    right, left = (mean[list(eye)].mean(axis=0) for eye in (topology.RIGHT_EYE, topology.LEFT_EYE))
    x = (left - right) / np.linalg.norm(left - right)
    forward = mean[_NOSE_BASE] - mean[list(_EARS)].mean(axis=0)
    forward -= (forward @ x) * x
    forward /= np.linalg.norm(forward)
    fall = np.radians(_NOSE_BASE_FALL_DEG)
    y = np.cos(fall) * np.cross(forward, x) - np.sin(fall) * forward
    turned = mean @ np.stack([x, y, np.cross(x, y)], axis=1)
    turned *= _PUPIL_DISTANCE_CM / np.linalg.norm(left - right)
    middle = turned[[_FOREHEAD, _CHIN]].mean(axis=0)
    ears = turned[list(_EARS)].mean(axis=0)
    result: np.ndarray = turned - [ears[0], middle[1], ears[2]]
    return result


def _mirror_indices(mean: np.ndarray) -> np.ndarray:
    """Index of each vertex's mirror image: the pairing of the face with its mirror image that moves vertices least."""
    distance = np.linalg.norm(mean[:, None] - (mean * [-1, 1, 1])[None], axis=2)
    mirror = linear_sum_assignment(distance)[1]
    paired = mirror[mirror] == np.arange(len(mean))
    # A vertex without a partner that finds it back would be averaged with a third one; it stays where the data put it.
    return np.where(paired, mirror, np.arange(len(mean)))


def _stability(shapes: Sequence[np.ndarray], mirror: np.ndarray) -> np.ndarray:
    """Weights (468,) summing to 1: inverse variance of each vertex within clips, the same left and right."""
    within = [((faces - faces.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0) for faces in shapes if len(faces) > 1]
    if not within:
        return np.full(topology.MESH_POINTS, 1 / topology.MESH_POINTS)
    variance = np.mean(within, axis=0)
    variance = (variance + variance[mirror]) / 2
    weights = 1 / (variance + np.median(variance) / 10)
    result: np.ndarray = weights / weights.sum()
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: landmark files in, one mean face out."""
    parser = argparse.ArgumentParser(prog="python -m fye_model.landmarks.mean_mesh", description="Compute a mean face.")
    parser.add_argument("landmarks", nargs="+", type=Path, help="landmark files (Parquet), one per clip or portrait")
    parser.add_argument("--output", required=True, type=Path, help="npz file to write")
    parser.add_argument("--max-frames", type=int, default=60, help="frames taken from each file")
    options = parser.parse_args(arguments)
    sequences = [read_landmarks(path) for path in options.landmarks]
    geometry = compute_mean_mesh(sequences, options.max_frames)
    with_faces = [sequence for sequence in sequences if sequence.valid.any()]
    write_mean_mesh(geometry, options.output, f"{len(with_faces)} faces, landmarks of {with_faces[0].model}")
    print(f"mean face of {len(with_faces)} clips written to {options.output}")


if __name__ == "__main__":
    main()
