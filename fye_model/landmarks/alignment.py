"""A driver's motion laid onto another face: the driver's change of expression and pose, the reference's own shape.

In the canonical space (pose removed, centimetres) the driver's difference from its neutral frame is added to the
reference's face; the head then turns as the driver's does, starting where the reference's head is (public release).
"""

from __future__ import annotations

import numpy as np

from fye_model.landmarks import topology
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.pupils import gaze, place_pupils
from fye_model.landmarks.regions import brow_height, opening
from fye_model.landmarks.table import LandmarkSequence, sequences_same_model

# The release divides by depth through a matrix with clip planes at 1 cm and 10000 cm, in a way that makes its focal
# length (far - near) / far of the true one: half a hundredth of a pixel at the border of a 100-pixel face.
_RELEASE_FOCAL = 1 - 1 / 10_000
_NEAREST_CM = 1.0  # a face closer than this is not in front of the camera


def align_motion(
    driver: LandmarkSequence,
    reference: LandmarkSequence,
    geometry: FaceGeometry,
    *,
    release_exact: bool = False,
    relative_depth: bool = False,
) -> np.ndarray:
    """The driver's motion on the reference's face: (f, 478, 2) float64 pixels of the reference's frame.

    Rotation is the driver's, absolute; translation is the driver's relative to its first valid frame, in centimetres,
    added to the reference's. A reference much nearer to its camera than the driver then grows and shrinks more than
    the driver did; `relative_depth` multiplies the reference's depth by the driver's ratio instead. Every frame is
    kept, NaN where the driver is not valid. `release_exact` reproduces the public release to 1e-3 px (its focal length
    is 1e-4 short); the release then drops the first frame's picture, which is left to the caller.
    reference: one valid frame. ValueError when no frame is usable, or when the face would end up behind the camera.
    """
    sequences_same_model([driver.model, reference.model])
    if len(reference) != 1 or not reference.valid[0]:
        raise ValueError(
            f"reference must be one frame with a face in it, got {len(reference)} frames, "
            f"{int(reference.valid.sum())} with a face; without one, draw the driver's own landmarks"
        )
    vertices, matrix = geometry.estimate(driver.points, driver.width, driver.height)
    reference_vertices, reference_matrix = geometry.estimate(reference.points, reference.width, reference.height)
    neutral = neutral_frame(driver, vertices)
    first = int(np.flatnonzero(driver.valid)[0])
    aligned = vertices - vertices[neutral] + reference_vertices[0]
    pose = matrix.copy()
    pose[:, :3, 3] += reference_matrix[0, :3, 3] - matrix[first, :3, 3]
    if relative_depth and not release_exact:
        pose[:, 2, 3] = reference_matrix[0, 2, 3] * matrix[:, 2, 3] / matrix[first, 2, 3]
    check_in_front(aligned, pose)
    focal = _RELEASE_FOCAL if release_exact else 1.0
    mesh = geometry.project(aligned, pose, reference.width, reference.height, focal_factor=focal)
    points = place_pupils(mesh, driver.pixels())
    points[~driver.valid] = np.nan
    return points


def neutral_frame(sequence: LandmarkSequence, vertices: np.ndarray) -> int:
    """Index of the frame with the least expression.

    With blendshapes, the one with the smallest sum over all but MediaPipe's own `_neutral` (release); without them, by
    geometry (`expression_score`). Interpolated frames are chosen only when there are no others.
    vertices: (f, 468, 3) canonical space.
    """
    usable = sequence.valid & ~sequence.interpolated
    usable = usable if usable.any() else sequence.valid
    if not usable.any():
        raise ValueError("no frame of the driver has a face: nothing to animate from")
    if sequence.blendshapes is not None:
        score = sequence.blendshapes[:, 1:].sum(axis=1, dtype=np.float64)
    else:
        score = expression_score(sequence, vertices, usable)
    return int(np.argmin(np.where(usable & np.isfinite(score), score, np.inf)))


def expression_score(sequence: LandmarkSequence, vertices: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """How far each frame is from a relaxed face, by geometry alone: (f,), to be compared within one sequence.

    Counted are an open mouth, eyes more closed than their upper quartile, and mouth width, brow height and pupils away
    from their medians over the usable frames. On eight real clips the chosen frame is among the tenth with the smallest
    blendshape sums. vertices: (f, 468, 3) canonical space; usable: (f,) bool.
    """
    unit = topology.interocular_distance(vertices)
    mouth_opening, mouth_width = opening(vertices, "mouth")
    eyes = [opening(vertices, eye) for eye in ("right_eye", "left_eye")]
    eye_opening = np.mean([gap / width for gap, width in eyes], axis=0)
    closed = np.maximum(0, np.quantile(eye_opening[usable], 0.75) - eye_opening)
    pupils = gaze(sequence.pixels())[..., 0]
    changes = [0.7 * _off_median(value, usable) for value in (mouth_width / unit, brow_height(vertices))]
    result: np.ndarray = (
        mouth_opening / mouth_width + 0.5 * closed + sum(changes) + _off_median(pupils, usable).mean(axis=1)
    )
    return result


def _off_median(values: np.ndarray, usable: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.abs(values - np.median(values[usable], axis=0))
    return result


def check_in_front(vertices: np.ndarray, pose: np.ndarray) -> None:
    """Raise ValueError where faces (f, 468, 3) under poses (f, 4, 4) are not wholly in front of the camera."""
    depth = np.einsum("fj,fnj->fn", pose[:, 2, :3], vertices) + pose[:, None, 2, 3]
    nearest = depth.max(axis=1)
    if np.nanmax(nearest) > -_NEAREST_CM:
        raise ValueError(
            f"frame {int(np.nanargmax(nearest))}: the driver comes closer to its camera by more than the reference's "
            "face is away from its own; use relative_depth=True, a shorter driver, or a reference with more margin"
        )
