"""Metric 3D face and head pose from 478 landmarks: MediaPipe's face geometry, in NumPy, for all frames at once.

The landmarks' z has no metric scale. The method assumes a pinhole camera with a vertical field of view of 63 degrees,
finds the scale at which the unprojected landmarks match a canonical face (in centimetres) on a weighted set of points,
and aligns the canonical face to them (weighted orthogonal Procrustes). It agrees with the matrix of MediaPipe's
FaceLandmarker to 1e-5. The camera looks along -z, x is right and y is up.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fye_model.landmarks import protobuf, topology

VERTICAL_FOV_DEG = 63.0
_METADATA = "geometry_pipeline_metadata_landmarks.binarypb"
_MEAN_MESH = Path(__file__).with_name("mean_mesh.npz")
_NEAR_CM = 1.0  # distance of the image plane on which landmarks are laid out


def half_height() -> float:
    """Half the image's height at unit distance from the camera."""
    return float(np.tan(np.radians(VERTICAL_FOV_DEG) / 2))


@dataclass(frozen=True)
class FaceGeometry:
    """A canonical face and the points by which pose is found.

    canonical: (468, 3) float64 centimetres, x to the subject's left, y up, z towards the camera;
    basis: (n,) indices; weights: (n,) of the basis points.
    """

    canonical: np.ndarray
    basis: np.ndarray
    weights: np.ndarray

    @classmethod
    def from_task(cls, path: str | Path) -> FaceGeometry:
        """MediaPipe's canonical face and basis, read from a face_landmarker.task bundle (no MediaPipe needed)."""
        try:
            with zipfile.ZipFile(path) as bundle:
                data = bundle.read(_METADATA)
        except (OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: not a readable .task bundle ({error})") from error
        except KeyError as error:
            raise ValueError(
                f"{path}: holds no {_METADATA}; this landmark model has no canonical face: use FaceGeometry.mean_mesh()"
            ) from error
        # GeometryPipelineMetadata: 1 canonical mesh {3 vertex buffer: x, y, z, u, v}, 2 basis point {1 index, 2 weight}
        metadata = protobuf.read_message(data)
        vertices = np.array(protobuf.read_message(metadata[1][0])[3], np.float64).reshape(-1, 5)[:, :3]
        points = [protobuf.read_message(point) for point in metadata[2]]
        indices = np.array([point.get(1, [0])[0] for point in points])
        weights = np.array([point[2][0] for point in points], np.float64)
        if vertices.shape != (topology.MESH_POINTS, 3):
            raise ValueError(f"{path}: canonical face has {len(vertices)} vertices, expected {topology.MESH_POINTS}")
        return cls(vertices, indices, weights)

    @classmethod
    def mean_mesh(cls) -> FaceGeometry:
        """Our own mean face, for landmark models that come without a canonical one (see `mean_mesh.py`)."""
        with np.load(io.BytesIO(_MEAN_MESH.read_bytes())) as stored:
            return cls(stored["canonical"].astype(np.float64), stored["basis"], stored["weights"].astype(np.float64))

    def estimate(self, points: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """Metric face and pose of every frame.

        points: (f, 478 or 468, 3), x and y as fractions of a width x height frame, z in the unit of x ->
        vertices (f, 468, 3), the frame's own face in canonical space (centimetres, pose removed), and matrix
        (f, 4, 4), canonical to camera, with the scale near 1 in its rotation part. NaN frames give NaN.
        """
        points = np.asarray(points)
        if points.ndim != 3 or points.shape[1] < topology.MESH_POINTS or points.shape[2] != 3:
            raise ValueError(f"points must have shape (f, {topology.POINTS}, 3), got {points.shape}")
        vertices = np.full((len(points), topology.MESH_POINTS, 3), np.nan)
        matrix = np.full((len(points), 4, 4), np.nan)
        found = np.isfinite(points[:, : topology.MESH_POINTS]).all(axis=(1, 2))
        if found.any():
            vertices[found], matrix[found] = self._estimate(points[found, : topology.MESH_POINTS], width / height)
        return vertices, matrix

    def _estimate(self, points: np.ndarray, aspect: float) -> tuple[np.ndarray, np.ndarray]:
        # Landmarks on the near plane, y up, depth (positive: away) on the scale of x, centred on the face's mean depth.
        plane = np.array([2 * aspect, -2, 2 * aspect]) * half_height() * _NEAR_CM
        screen = (points.astype(np.float64) - [0.5, 0.5, 0.0]) * plane
        screen[..., 2] -= screen[..., 2].mean(axis=1, keepdims=True)
        # The first scale ignores perspective; with it the depth is known well enough to undo perspective once.
        basis = screen[:, self.basis]
        scale = self._procrustes(basis * [1, 1, -1])[1]
        scale = scale * self._procrustes(_unproject(basis, scale))[1]
        metric = _unproject(screen, scale)
        rotation, factor, translation = self._procrustes(metric[:, self.basis])
        matrix = np.zeros((len(points), 4, 4))
        matrix[:, :3, :3] = rotation * factor[:, None, None]
        matrix[:, :3, 3] = translation
        matrix[:, 3, 3] = 1
        vertices = (metric - translation[:, None]) @ rotation / factor[:, None, None]
        return vertices, matrix

    def _procrustes(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rotation (f, 3, 3), scale (f,), translation (f, 3) from the canonical face's basis to targets (f, n, 3)."""
        return weighted_procrustes(self.canonical[self.basis], target, self.weights)

    @staticmethod
    def project(
        vertices: np.ndarray, matrix: np.ndarray, width: int, height: int, focal_factor: float = 1.0
    ) -> np.ndarray:
        """Pixels of canonical-space vertices under a pose: (f, n, 3), (f, 4, 4) -> (f, n, 2) of a width x height image.

        focal_factor scales the focal length (see `alignment.py`).
        """
        camera = vertices @ matrix[:, :3, :3].transpose(0, 2, 1) + matrix[:, None, :3, 3]
        focal = focal_factor * height / 2 / half_height()
        x = width / 2 - focal * camera[..., 0] / camera[..., 2]
        y = height / 2 + focal * camera[..., 1] / camera[..., 2]
        return np.stack([x, y], axis=-1)


def _unproject(screen: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Camera coordinates of landmarks on the near plane, `scale` times too small: (f, n, 3), (f,) -> (f, n, 3)."""
    depth = (screen[..., 2:] + _NEAR_CM) / scale[:, None, None]
    return np.concatenate([screen[..., :2] * depth / _NEAR_CM, -depth], axis=-1)


def weighted_procrustes(
    source: np.ndarray, target: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Similarity that brings source onto target with the least weighted squared error, for many targets at once.

    source: (n, 3); target: (f, n, 3); weights: (n,) -> rotation (f, 3, 3), scale (f,), translation (f, 3).
    """
    weights = weights / weights.sum()
    source_mean, target_mean = weights @ source, weights @ target
    centred = source - source_mean
    covariance = np.swapaxes(target - target_mean[:, None], 1, 2) @ (weights[:, None] * centred)
    u, _, vt = np.linalg.svd(covariance)
    u[..., 2] *= np.sign(np.linalg.det(u) * np.linalg.det(vt))[:, None]  # a rotation, never a reflection
    rotation = u @ vt
    scale = np.einsum("fij,fij->f", rotation, covariance) / np.einsum("n,ni,ni->", weights, centred, centred)
    translation = target_mean - scale[:, None] * (rotation @ source_mean)
    return rotation, scale, translation


def euler_deg(matrix: np.ndarray) -> np.ndarray:
    """Pitch, yaw and roll of poses in degrees: (f, 4, 4) -> (f, 3), R = Rz(roll) Ry(yaw) Rx(pitch); scale is ignored.

    Positive pitch: looking down; positive yaw: towards the image's right; positive roll: counter-clockwise.
    """
    rotation = np.asarray(matrix, np.float64)[:, :3, :3]
    rotation = rotation / np.linalg.norm(rotation, axis=1, keepdims=True)
    pitch = np.arctan2(rotation[:, 2, 1], rotation[:, 2, 2])
    yaw = np.arcsin(np.clip(-rotation[:, 2, 0], -1, 1))
    roll = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
    result: np.ndarray = np.degrees(np.stack([pitch, yaw, roll], axis=1))
    return result


def rotation_difference_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle of the rotation between two poses, scale ignored: (f, 4, 4), (f, 4, 4) -> (f,) degrees."""
    a, b = (np.asarray(m, np.float64)[:, :3, :3] for m in (a, b))
    a, b = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (a, b))
    # The chord is exact at small angles, where the arc cosine of the trace is not.
    chord = np.linalg.norm(a - b, axis=(1, 2)) / (2 * np.sqrt(2))
    result: np.ndarray = np.degrees(2 * np.arcsin(np.clip(chord, 0, 1)))
    return result
