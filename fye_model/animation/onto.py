"""A driver's expression on a person in footage: what is drawn for each frame, in a square that follows the face.

The face has the shape of one calm frame of the person, which is the model's reference; its pose is the footage's in
every frame, or turns as the driver's head does. Where something is not taken over, the person's own face goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from fye_model.animation.description import Crop
from fye_model.animation.transfer import (
    Transfer,
    ease_over,
    estimated,
    eye_line,
    irises_between,
    proportions_of,
    region_strengths,
    rotation_of,
)
from fye_model.animation.turn import Turn
from fye_model.landmarks import topology
from fye_model.landmarks.alignment import check_in_front, expression_score
from fye_model.landmarks.boxes import Square, pixel_boxes
from fye_model.landmarks.geometry import FaceGeometry, euler_deg
from fye_model.landmarks.mouths import TrainedMouths, hold_mouth
from fye_model.landmarks.neutral import choose_neutral
from fye_model.landmarks.poses import TrainedPoses, keep_within
from fye_model.landmarks.pupils import put_irises, turned
from fye_model.landmarks.regions import opening, part_crossed
from fye_model.landmarks.table import LandmarkSequence, sequences_same_model

Head = Literal["footage", "driver"]
_FOLLOW_S = 0.3  # the square follows the face as a camera on a tripod does: its own jitter would be seen as breathing
_AWAKE = 0.85  # of an eye's usual opening: a model that never saw the iris invents one
_PER_DEG = 1 / 20  # of a head turned by so much from the usual pose, as costly for a reference as a usual expression


@dataclass(frozen=True)
class Carried:
    """What is drawn, and the person's own face, in pixels of the squares: (f, 478, 2), NaN where nothing is drawn.
    notes: what a user should know."""

    points: np.ndarray
    own: np.ndarray
    notes: tuple[str, ...]


def spans_of(frames: np.ndarray) -> list[slice]:
    """Runs of frames that are to be made: (f,) bool -> slices."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], frames, [False]]).astype(int)))
    return [slice(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def following_squares(footage: LandmarkSequence, turn: Turn, crop: Crop) -> list[Square | None]:
    """The square around the face of each frame of the turned picture, smoothed over time without lag; None without
    a face. turn: of the footage's frames at `footage`'s size."""
    squares: list[Square | None] = [None] * len(footage)
    for span in spans_of(footage.valid):
        boxes = pixel_boxes(turn.there(footage.pixels()[span]))
        found = [crop.portrait_square(box, *turn.size) for box in boxes]
        path = np.array([[one.left + one.side / 2, one.top + one.side / 2, one.side] for one in found], float)
        path = gaussian_filter1d(path, _FOLLOW_S * footage.fps, axis=0, mode="nearest")
        for frame, (x, y, side) in zip(range(span.start, span.stop), path, strict=True):
            whole = max(round(side), 2)
            squares[frame] = Square(round(x - whole / 2), round(y - whole / 2), whole)
    return squares


def in_squares(footage: LandmarkSequence, turn: Turn, squares: Sequence[Square | None], size: int) -> LandmarkSequence:
    """The footage's face in pixels of the squares at `size` x `size`; the detector's matrix would no longer fit."""
    points = np.full(footage.points.shape, np.nan)
    seen = footage.pixels()
    for frame, square in enumerate(squares):
        if square is not None:
            points[frame, :, :2] = square.to_square(turn.there(seen[frame]), size) / size
            points[frame, :, 2] = footage.points[frame, :, 2] * (footage.width / square.side)
    return replace(footage, points=points.astype(np.float32), matrix=None, width=size, height=size)


def calm_frame(footage: LandmarkSequence, geometry: FaceGeometry) -> int:
    """The frame that shows the person best: little expression, the head near its usual pose, nothing interpolated.

    Raises ValueError where no frame shows the person.
    """
    if not footage.valid.any():
        raise ValueError("no frame of the footage shows the person")
    vertices, matrix = estimated(footage, geometry)
    usable = footage.valid & ~footage.interpolated
    usable = usable if usable.any() else footage.valid
    if footage.blendshapes is not None:
        score = footage.blendshapes[:, 1:].sum(axis=1, dtype=np.float64)
    else:
        score = expression_score(footage, vertices, usable)
    usable &= np.isfinite(score)
    for eye in ("right_eye", "left_eye"):
        gap, width = opening(vertices, eye)
        awake = usable & (gap / width > _AWAKE * np.nanquantile((gap / width)[usable], 0.75))
        usable = awake if awake.any() else usable
    frames = np.flatnonzero(usable)
    rotation, _ = rotation_of(matrix[frames])
    off_deg = np.degrees((rotation.mean().inv() * rotation).magnitude())
    usual = max(float(np.median(score[frames])), 1e-6)
    return int(frames[np.argmin(score[frames] / usual + off_deg * _PER_DEG)])


def at_times(driver: LandmarkSequence, fps: float, frames: int) -> LandmarkSequence:
    """The driver's face at `frames` instants of another rate, between two of its frames as far as time is; invalid
    where it has ended."""
    at = np.arange(frames) / fps * driver.fps
    before = np.minimum(np.floor(at + 1e-6).astype(int), len(driver) - 1)
    after = np.minimum(before + 1, len(driver) - 1)
    part = np.clip(at - before, 0, 1).astype(np.float32)
    result = driver.select(np.where(part < 0.5, before, after))
    both = driver.valid[before] & driver.valid[after] & ((part > 0) & (part < 1))
    mixed = driver.points[before] + part[:, None, None] * (driver.points[after] - driver.points[before])
    points = np.where(both[:, None, None], mixed, result.points)
    ended = at > len(driver) - 0.5
    points[ended] = np.nan
    valid = result.valid & ~ended
    times = np.arange(frames) / fps
    return replace(result, points=points, valid=valid, interpolated=result.interpolated & valid, time_s=times, fps=fps)


def carry_onto(
    driver: LandmarkSequence,
    footage: LandmarkSequence,
    reference: int,
    geometry: FaceGeometry,
    transfer: Transfer,
    head: Head = "footage",
    poses: TrainedPoses | None = None,
    strength: np.ndarray | None = None,
    mouths: TrainedMouths | None = None,
) -> Carried:
    """The driver's expression on the person of the footage, frame by frame.

    driver: at the footage's times; footage: in its squares (`in_squares`); reference: the frame whose face the model
    starts from. strength: (f,) from 0 to 1, how much is taken over in each frame. Of what is taken over at less than 1,
    the rest is the person's own expression in that frame; at 0 all points lie where the footage has them. With
    `driver` as head, `transfer.pose` says how much. Frames without a driver or a person are NaN. Raises ValueError for
    a reference without a face and where nothing is left to make.
    """
    sequences_same_model([driver.model, footage.model])
    if not (0 <= reference < len(footage) and footage.valid[reference]):
        raise ValueError(
            f"frame {reference} of the footage does not show the person; its frames are 0 to {len(footage) - 1}"
        )
    frames = np.flatnonzero(driver.valid & footage.valid)
    if not len(frames):
        raise ValueError("at no time do both the footage and the driver show a face: there is nothing to replace")
    theirs, their_pose = estimated(driver, geometry)
    own, own_pose = estimated(footage, geometry)
    neutral = choose_neutral(driver, theirs, geometry, transfer.neutral)
    much = ease_over(len(driver), driver.fps, transfer.ease_s) * (1.0 if strength is None else strength)
    much = much[frames]
    notes = [neutral.words]
    much_here = (much[:, None] * region_strengths(transfer, geometry))[..., None]
    change = (theirs[frames] - neutral.vertices) * much_here
    if transfer.proportions:
        change = change * proportions_of(own[reference], neutral.vertices, geometry)
    kept = 1 - np.minimum(much_here, 1)
    base = own[reference] + kept * (own[frames] - own[reference])
    if transfer.limits and mouths is not None:
        change, held = hold_mouth(base, change, geometry, mouths)
        notes += held
    face = part_crossed(base + change)
    pose = own_pose[frames]
    if head == "driver":
        home = frames[0] if neutral.frame is None or transfer.neutral == "auto" else neutral.frame
        turning = their_pose[[home, *frames]], own_pose[[reference, *frames]]
        pose, limited = _driven(*turning, transfer.pose * much, poses if transfer.limits else None)
        notes += limited
    elif poses is not None:
        notes += _beyond(pose, poses)
    check_in_front(face, pose)
    mesh = geometry.project(face, pose, footage.width, footage.height)
    seen = footage.pixels()
    irises = irises_between(driver.pixels()[frames], seen[frames], np.minimum(transfer.gaze, 2) * much)
    angle = eye_line(mesh)
    points = np.full((len(driver), topology.POINTS, 2), np.nan)
    points[frames] = turned(put_irises(turned(mesh, -angle), irises), angle)
    return Carried(points, np.where(np.isfinite(points), seen, np.nan), tuple(notes))


def _driven(
    theirs: np.ndarray, own: np.ndarray, strength: np.ndarray, poses: TrainedPoses | None
) -> tuple[np.ndarray, list[str]]:
    """Poses (f, 4, 4) at the footage's places, turned from the reference's pose on as the driver's head turns.

    theirs, own: (1 + f, 4, 4), at home and in the reference frame, then of every frame.
    """
    turns, _ = rotation_of(theirs)
    here, scale = rotation_of(own)
    wanted = here[0] * (turns[0].inv() * turns[1:])
    rotation = here[1:] * Rotation.from_rotvec((here[1:].inv() * wanted).as_rotvec() * strength[:, None])
    notes: list[str] = []
    if poses is not None:
        angles = rotation.as_euler("xyz", degrees=True)
        kept, notes = keep_within(angles, here[0].as_euler("xyz", degrees=True), poses)
        rotation = Rotation.from_euler("xyz", kept, degrees=True)
    pose = own[1:].copy()
    pose[:, :3, :3] = rotation.as_matrix() * scale[1:, None, None]
    return pose, notes


def _beyond(pose: np.ndarray, poses: TrainedPoses) -> list[str]:
    """What is said of heads that the model has not seen so; the footage's own pose is followed all the same."""
    angles = euler_deg(pose)
    outside = ((angles < poses.ranges[:, 0]) | (angles > poses.ranges[:, 1])).any(axis=1)
    if not outside.any():
        return []
    return [f"the head is turned further than the model was trained on in {int(outside.sum())} of {len(pose)} frames"]
