"""The driver's motion as points to draw: on the portrait's face where it has one, as it is where it has none."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fye_model.animation.description import ModelDescription
from fye_model.animation.outline import HeadMotion
from fye_model.animation.transfer import Transfer, of_a_still, transfer_motion
from fye_model.landmarks.alignment import align_motion
from fye_model.landmarks.boxes import Square, face_square, pixel_boxes, union
from fye_model.landmarks.drawing import ALIGNED, landmark_points
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.smoothing import Method, smooth_sequence
from fye_model.landmarks.table import LandmarkSequence

USUAL_FPS = 25.0  # of frames that bring no rate, where neither the user nor the model names one


@dataclass(frozen=True)
class Motion:
    """points: (f, 478, 2) pixels of the square result, no NaN. held: (f,) frames that repeat a neighbour's face.
    notes: what a user should know of how the motion was carried over; head: how the head's outline moves, None where
    the motion is not on the portrait's own face, or as the public release has it."""

    points: np.ndarray
    held: np.ndarray
    aligned: bool
    notes: tuple[str, ...] = ()
    head: HeadMotion | None = None

    def stretch(self, chosen: slice) -> Motion:
        """These frames of it."""
        head = None if self.head is None else self.head.stretch(chosen)
        return replace(self, points=self.points[chosen], held=self.held[chosen], head=head)


def motion_points(
    driver: LandmarkSequence,
    reference: LandmarkSequence | None,
    geometry: FaceGeometry,
    model: ModelDescription,
    smoothing: Method,
    transfer: Transfer | None = None,
    still: bool = False,
) -> Motion:
    """Smooth the driver and lay it onto the reference (one frame of the model's size).

    transfer: what of the driver is taken over; None does as the paper and the public release: everything, with the
    driver's own rotation (`align_motion`), which is what methods are compared by. still: the driver is one picture,
    shown again and again; what is transferred of it is as `of_a_still` says. Without a reference, and for a model
    of plain 2D landmarks, which know no other face, the driver's own landmarks are drawn, in the square that a training
    clip of the driver would have had. Frames in which the driver's face is missing (short gaps come interpolated) hold
    the last face before them, at the start the first one after them. Raises `ValueError` when the driver is empty or
    shows no face at all.
    """
    if len(driver) == 0:
        raise ValueError("The driver is empty: 0 frames; give a video or a landmark table with at least 1")
    if not driver.valid.any():
        raise ValueError(f"none of the driver's {len(driver)} frames shows a face: there is nothing to animate from")
    driver = smooth_sequence(driver, smoothing)
    whole = union(pixel_boxes(driver.pixels()[driver.valid]))
    square = face_square(whole, driver.width, driver.height, model.crop.margin)
    notes: tuple[str, ...] = ()
    head: HeadMotion | None = None
    aligned = reference is not None and model.landmark_variant in ALIGNED
    if reference is None or not aligned:
        points = square.to_square(landmark_points(driver, model.landmark_variant, geometry), model.size)
    elif transfer is None:
        points = align_motion(driver, reference, geometry)
    else:
        if still:
            transfer = of_a_still(transfer, len(driver) / driver.fps)
            notes = ("its pose and expression are eased into, and measured from a mean face that looks ahead",)
        in_square = reference_in_square(driver, square, model.size)
        carried = transfer_motion(driver, reference, geometry, transfer, model.poses, in_square, model.mouths)
        points, notes, head = carried.points, (*notes, *carried.notes), carried.head
    source, held = held_frames(points)
    return Motion(points[source], held, aligned, notes, None if head is None else head.stretch(source))


def own_points(reference: LandmarkSequence | None, motion: Motion) -> np.ndarray | None:
    """The portrait's own face (478, 2) in pixels of its square, where the motion was laid onto it."""
    return reference.pixels()[0] if reference is not None and motion.aligned else None


def hold_missing(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Replace frames with NaN by the last frame before them without, or the first one after.

    points: (f, n, 2) with at least one frame free of NaN -> the same shape, and which frames were replaced (f,) bool.
    """
    source, missing = held_frames(points)
    return points[source], missing


def held_frames(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which frame of points (f, n, 2) stands for each one (f,), as `hold_missing` says, and which were replaced."""
    missing = ~np.isfinite(points).all(axis=(1, 2))
    good = np.flatnonzero(~missing)
    return good[np.maximum(np.searchsorted(good, np.arange(len(points)), side="right") - 1, 0)], missing


def reference_in_square(face: LandmarkSequence, square: Square, size: int) -> LandmarkSequence:
    """A face found in the whole picture, as frames of the `size` x `size` square; its matrix would no longer fit."""
    scale = size / square.side
    points = face.points.astype(np.float64)
    points[..., :2] = square.to_square(points[..., :2] * (face.width, face.height), size) / size
    points[..., 2] *= face.width * scale / size
    return replace(face, points=points.astype(np.float32), matrix=None, width=size, height=size)
