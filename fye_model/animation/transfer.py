"""What of a driver a portrait takes over: expression by region, head pose, gaze, each as strongly as wanted.

In the canonical space the driver's difference from its neutral face is added to the portrait's own face, in proportion
to the portrait's eyes and mouth. The head moves as the driver's does, starting from the portrait's own pose or, when
that is wanted, in the driver's; and it stays where the model has seen heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from fye_model.animation.outline import HeadMotion, head_motion
from fye_model.config import Config
from fye_model.easing import smoothstep
from fye_model.landmarks import topology
from fye_model.landmarks.alignment import check_in_front
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.mouths import TrainedMouths, hold_mouth
from fye_model.landmarks.neutral import Neutral, choose_neutral
from fye_model.landmarks.poses import TrainedPoses, keep_within
from fye_model.landmarks.pupils import iris_places, put_irises, turned
from fye_model.landmarks.regions import OPENINGS, REGIONS, opening, part_crossed, region_of_vertices
from fye_model.landmarks.table import LandmarkSequence, sequences_same_model

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

Strength = Annotated[float, Field(ge=0, le=2)]
KINDS = {"expression": ("eyes", "brows", "mouth"), "pose": ("pose",), "gaze": ("gaze",)}
_PROPORTION = 0.5, 2.0  # a portrait's eye or mouth against the driver's: beyond, one of the two was measured badly
_STILL_EASE_S = 0.5
_CLOSED = 0.1  # an eye open by less of its width says nothing about its pupil


class Transfer(Config):
    """What is taken over, and how.

    eyes, brows, mouth, pose, gaze: strengths, 0 (the portrait's own) to 2 (twice the driver's). rotation, position:
    `relative` to the driver's first frame, so that the portrait begins in its own pose, or `absolute`, as the driver
    holds its head and where it is in its own square. neutral: see `choose_neutral`; with a frame's number, that
    frame's pose counts as the portrait's own, too. proportions: fit the eyes' and the mouth's motion to the portrait's,
    so that an eye of another size closes. ease_s: seconds in which the motion sets in at the start, and returns to the
    portrait's own face at the end. limits: keep the head and the mouth among the poses and shapes that the model was
    trained on, and the face in the picture.
    """

    eyes: Strength = 1.0
    brows: Strength = 1.0
    mouth: Strength = 1.0
    pose: Strength = 1.0
    gaze: Strength = 1.0
    rotation: Literal["relative", "absolute"] = "relative"
    position: Literal["relative", "absolute"] = "relative"
    neutral: str = "auto"
    proportions: bool = True
    ease_s: Annotated[float, Field(ge=0)] = 0.0
    limits: bool = True


def only(kinds: Sequence[str]) -> dict[str, float]:
    """Strengths that take over some of `expression`, `pose` and `gaze` and nothing else; ValueError for other words."""
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"transfer {', '.join(unknown)}; expected some of {', '.join(KINDS)}")
    return {name: float(kind in kinds) for kind, names in KINDS.items() for name in names}


def of_a_still(transfer: Transfer, seconds: float) -> Transfer:
    """The same for a driver that is one picture, shown so long: against itself it would neither turn nor smile.

    Its rotation is taken as it is and its expression as the difference from a mean face, unless another neutral one is
    asked for; both set in within half a second, or a quarter of the time where that is less.
    """
    neutral = "mean" if transfer.neutral in ("auto", "composite") else transfer.neutral
    ease_s = transfer.ease_s or min(_STILL_EASE_S, seconds / 4)
    return transfer.model_copy(update={"rotation": "absolute", "neutral": neutral, "ease_s": ease_s})


@dataclass(frozen=True)
class Transferred:
    """points: (f, 478, 2) pixels of the reference's frame, NaN where the driver is not valid; notes: what a user should
    know: the neutral that was taken, and which limits were met; head: how the head's outline moves."""

    points: np.ndarray
    notes: tuple[str, ...]
    head: HeadMotion


def transfer_motion(
    driver: LandmarkSequence,
    reference: LandmarkSequence,
    geometry: FaceGeometry,
    transfer: Transfer,
    poses: TrainedPoses | None = None,
    driver_in_square: LandmarkSequence | None = None,
    mouths: TrainedMouths | None = None,
) -> Transferred:
    """The driver's motion on the reference's face.

    reference: one valid frame. driver_in_square: the driver in the square that a training clip of it would have had,
    needed where the position is absolute. Raises ValueError when no frame is usable, for a neutral frame that is not
    there, or when the face would end up behind the camera.
    """
    sequences_same_model([driver.model, reference.model])
    if len(reference) != 1 or not reference.valid[0]:
        raise ValueError(f"reference must be one frame with a face in it, got {len(reference)} frames")
    frames = np.flatnonzero(driver.valid)
    vertices, matrix = estimated(driver, geometry)
    neutral = choose_neutral(driver, vertices, geometry, transfer.neutral)
    home = frames[0] if neutral.frame is None or transfer.neutral == "auto" else neutral.frame
    if transfer.position == "absolute":
        if driver_in_square is None:
            raise ValueError("an absolute position needs the driver in its square")
        places = estimated(driver_in_square, geometry)[1][:, :3, 3]
    else:
        places = matrix[:, :3, 3]
    own_vertices, own_matrix = (value[0] for value in estimated(reference, geometry))
    ease = ease_over(len(driver), driver.fps, transfer.ease_s)
    much = ease[frames]
    face, held = _face(vertices[frames], own_vertices, neutral, geometry, transfer, much, mouths)
    head, limited = _pose(matrix, places, own_matrix, int(home), transfer, ease, poses, frames)
    check_in_front(face, head)
    mesh = geometry.project(face, head, reference.width, reference.height)
    irises = irises_between(driver.pixels()[frames], reference.pixels(), transfer.gaze * ease[frames])
    points = np.full((len(driver), topology.POINTS, 2), np.nan)
    angle = eye_line(mesh)
    points[frames] = turned(put_irises(turned(mesh, -angle), irises), angle)
    notes = [neutral.words, *limited, *held]
    poses_drawn = np.full((len(driver), 4, 4), np.nan)
    poses_drawn[frames] = head
    size = reference.width, reference.height
    outline = head_motion(own_matrix, poses_drawn, reference.pixels()[0], geometry, *size)
    if transfer.limits:
        before = points
        points, moved = _inside(points, *size)
        outline = outline.shifted((points - before)[:, 0])
        if moved:
            notes.append(f"the face would leave the picture in {moved} of {len(points)} frames and is kept in it")
    return Transferred(points, tuple(notes), outline)


def estimated(sequence: LandmarkSequence, geometry: FaceGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Faces (f, 468, 3) in canonical space and poses (f, 4, 4)."""
    return geometry.estimate(sequence.points, sequence.width, sequence.height)


def ease_over(frames: int, fps: float, ease_s: float) -> np.ndarray:
    """How much of the motion there is in each frame, (f,) from 0 to 1: all of it but near the ends."""
    if ease_s == 0:
        return np.ones(frames)
    since = np.minimum(np.arange(frames), np.arange(frames)[::-1]) / fps
    return smoothstep(since / ease_s)


def _face(
    vertices: np.ndarray,
    own: np.ndarray,
    neutral: Neutral,
    geometry: FaceGeometry,
    transfer: Transfer,
    ease: np.ndarray,
    mouths: TrainedMouths | None,
) -> tuple[np.ndarray, list[str]]:
    """The portrait's face with the driver's expression, in canonical space: (f, 468, 3), and which limits were met."""
    held: list[str] = []
    change = (vertices - neutral.vertices) * (ease[:, None] * region_strengths(transfer, geometry))[..., None]
    if transfer.proportions:
        change = change * proportions_of(own, neutral.vertices, geometry)
    if transfer.limits and mouths is not None:
        change, held = hold_mouth(own[None], change, geometry, mouths)
    return part_crossed(own + change), held


def region_strengths(transfer: Transfer, geometry: FaceGeometry) -> np.ndarray:
    """How strongly each point of the mesh is moved: (468,)."""
    strengths = np.array([transfer.eyes, transfer.eyes, transfer.brows, transfer.mouth])
    return strengths[region_of_vertices(geometry)]


def proportions_of(own: np.ndarray, neutral: np.ndarray, geometry: FaceGeometry) -> np.ndarray:
    """The portrait's measures over the driver's around each point, along x, y and z: (468, 3). Eyes close along y."""
    ratios = np.ones((len(REGIONS), 3))
    for index, name in enumerate(REGIONS):
        if name not in OPENINGS:
            continue
        (gap, width), (own_gap, own_width) = opening(neutral[None], name), opening(own[None], name)
        ratios[index] = own_width[0] / width[0]
        if name != "mouth" and gap[0] > 0 and own_gap[0] > _CLOSED * own_width[0]:
            ratios[index, 1] = own_gap[0] / gap[0]
    return np.clip(ratios, *_PROPORTION)[region_of_vertices(geometry)]


def _pose(
    matrix: np.ndarray,
    places: np.ndarray,
    own: np.ndarray,
    home: int,
    transfer: Transfer,
    ease: np.ndarray,
    poses: TrainedPoses | None,
    frames: np.ndarray,
) -> tuple[np.ndarray, list[str]]:
    """Poses (f, 4, 4) of the portrait's head in `frames`, and which limits were met."""
    from scipy.spatial.transform import Rotation  # slow to import, and a cached run needs none of it

    strength = transfer.pose * ease[frames]
    theirs, scale = rotation_of(matrix[frames])
    ours, own_scale = rotation_of(own[None])
    if transfer.rotation == "relative":
        at_home, home_scale = rotation_of(matrix[[home]])
        change = at_home.inv() * theirs  # about the head's own axes: a nod stays one on a face that looks aside
        scale = own_scale * scale / home_scale
    else:
        change = ours.inv() * theirs
    rotation = ours * Rotation.from_rotvec(change.as_rotvec() * strength[:, None])
    notes: list[str] = []
    if transfer.limits and poses is not None:
        angles, own_angles = (item.as_euler("xyz", degrees=True) for item in (rotation, ours))
        kept, notes = keep_within(angles, own_angles[0], poses)
        rotation = Rotation.from_euler("xyz", kept, degrees=True)
    place = places[frames].copy()
    if transfer.position == "relative":
        # In depth by ratio: a portrait near its camera would otherwise grow more than the driver did.
        depth = own[2, 3] * place[:, 2] / places[home, 2]
        place += own[:3, 3] - places[home]
        place[:, 2] = depth
    result = np.zeros((len(frames), 4, 4))
    scale = own_scale + (scale - own_scale) * np.minimum(strength, 1)
    result[:, :3, :3] = rotation.as_matrix() * scale[:, None, None]
    result[:, :3, 3] = own[:3, 3] + strength[:, None] * (place - own[:3, 3])
    result[:, 3, 3] = 1
    return result, notes


def rotation_of(matrix: np.ndarray) -> tuple[Rotation, np.ndarray]:
    """The rotation in poses (f, 4, 4), and their scale (f,)."""
    from scipy.spatial.transform import Rotation

    part = matrix[:, :3, :3]
    scale = np.cbrt(np.linalg.det(part))
    return Rotation.from_matrix(part / scale[:, None, None]), scale


def irises_between(driver: np.ndarray, reference: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Places of the irises in the portrait's eyes, (f, 10, 2): between its own gaze and the driver's, or beyond.

    driver: (f, 478, 2) pixels; reference: likewise, or one frame; strength: (f,), 0 the own gaze, 1 the driver's.
    Measured along the line of the eyes, so that a tilted head looks where an upright one does.
    """
    places = iris_places(turned(driver, -eye_line(driver)))
    for eye, region in enumerate(("right_eye", "left_eye")):
        gap, width = opening(driver, region)
        seen = np.flatnonzero(gap > _CLOSED * width)
        if len(seen):  # through a blink the gaze goes on from where it was to where it will be
            which = slice(5 * eye, 5 * eye + 5)
            known = places[seen, which].reshape(len(seen), -1)
            every = [np.interp(np.arange(len(places)), seen, column) for column in known.T]
            places[:, which] = np.stack(every, axis=1).reshape(len(places), 5, 2)
    own = iris_places(turned(reference, -eye_line(reference)))
    return own + strength[:, None, None] * (places - own)


def eye_line(points: np.ndarray) -> np.ndarray:
    """Angle of the line from one outer corner of the eyes to the other in pixels (f, n, 2): (f,) radians."""
    right, left = (points[:, corner] for corner in topology.OUTER_EYE_CORNERS)
    angle: np.ndarray = np.arctan2(left[:, 1] - right[:, 1], left[:, 0] - right[:, 0])
    return angle


def _inside(points: np.ndarray, width: int, height: int) -> tuple[np.ndarray, int]:
    """Points moved back where eyes, brows or mouth would leave the picture, and in how many frames they were."""
    seen = points[:, list(topology.EXPRESSION_POINTS)]
    low, high, size = seen.min(axis=1), seen.max(axis=1), np.array([width, height])
    shift = np.maximum(0, -low) - np.maximum(0, high - (size - 1))
    shift = np.where(high - low > size - 1, 0, shift)  # larger than the picture: nowhere is inside
    shift = np.nan_to_num(shift)
    moved = int((np.abs(shift).max(axis=1) > 1).sum())
    return points + shift[:, None], moved
