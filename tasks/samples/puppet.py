"""A photograph that moves as told: turned and animated.

Its depth comes from landmarks, so that a turn of the head is a rotation in three dimensions; lids, irises, brows, lips
and jaw are moved in the frontal picture before that. Every map is smooth, and goes from the pixel of the frame back to
the photograph (`figure.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from fye_model.easing import smoothstep
from fye_model.landmarks import topology
from tasks.samples.figure import EYES_PX, GRID, OVERSAMPLING, TOP, Figure, astronaut
from tasks.samples.warping import resampled, sample

_VIEW = 212.0  # side of the square that a frame shows at zoom 1
_MOUTH_PX = 15.0  # the lower lip goes down by this at mouth = 1
_GAZE_PX = 3.0
_BROW_PX = 4.5
_CAVITY = np.array([46.0, 16.0, 18.0])
_TONGUE = np.array([142.0, 66.0, 66.0])

_RIGHT_LIDS = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133))
_LEFT_LIDS = ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263))
_UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
_RIGHT_BROW = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55)
_LEFT_BROW = (300, 293, 334, 296, 336, 276, 283, 282, 295, 285)


def eyes_apart_px(size: int) -> float:
    """Between the outer corners of the eyes in a frame of `size` x `size` pixels at zoom 1, about."""
    return EYES_PX / _VIEW * size


@dataclass(frozen=True)
class Pose:
    """What one frame shows.

    Degrees: yaw to the image's right, pitch down, roll counter-clockwise. shift_x, shift_y: of the head, in pixels of
    the photograph; zoom of the whole frame. mouth: -1 lips closed, 0 as photographed (a smile), 1 wide open; blink: 0
    to 1; gaze: -1 to 1, positive to the image's right; brows: 0 to 1, raised; pucker: 0 to 1, mouth narrowed.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    zoom: float = 1.0
    mouth: float = 0.0
    blink: float = 0.0
    gaze: float = 0.0
    brows: float = 0.0
    pucker: float = 0.0


class Puppet:
    """A figure, the astronaut's unless told otherwise, that `frame` shows in any pose."""

    def __init__(self, figure: Figure | None = None) -> None:
        self.figure = astronaut() if figure is None else figure
        self.points = self.figure.points

    def frame(self, pose: Pose, size: int) -> np.ndarray:
        """The photograph in this pose: (size, size, 3) uint8."""
        figure, view = self.figure, _VIEW / pose.zoom
        axis = (np.arange(size, dtype=np.float32) + 0.5) / size * view
        x = axis + (figure.centre[0] + 0.3 * pose.shift_x - view / 2)
        y = axis + max(figure.centre[1] + 0.3 * pose.shift_y - view / 2, -TOP + 2.0)
        head_x, head_y = self._unturned(x, y, pose)
        if figure.backdrop is None:
            picture = self._head(head_x, head_y, pose)[..., :3]
            return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
        picture = resampled(resampled(figure.backdrop, y + TOP, 0), x, 1)
        # only there can the head be: the maps and the reading below are most of the work
        near = (head_x > figure.low[0]) & (head_x < figure.high[0]) & (head_y > figure.low[1])
        rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        shown = self._head(head_x[window], head_y[window], pose)
        picture[window] += shown[..., 3:] / 255 * (shown[..., :3] - picture[window])
        return np.clip(np.rint(picture), 0, 255).astype(np.uint8)

    def _head(self, x: np.ndarray, y: np.ndarray, pose: Pose) -> np.ndarray:
        """Colour and alpha of the head with its expression at points (h, w) of the frontal picture: (h, w, 4)."""
        shown = sample(self.figure.head, *self._relaxed(x, y, pose), OVERSAMPLING)
        self._open_mouth(shown[..., :3], x, y, pose)
        return shown

    # --- the head as a whole --------------------------------------------------------------------------------------

    def _unturned(self, x: np.ndarray, y: np.ndarray, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Where in the frontal picture the points (x, y) of the turned one come from, for rows y and columns x."""
        # the map varies slowly: solve on a coarse grid, where the turned point equals the wanted one
        count = int((x[-1] - x[0]) / 3) + 2
        coarse = np.linspace(0, len(x) - 1, count)
        wanted_x, wanted_y = np.meshgrid(np.interp(coarse, range(len(x)), x), np.interp(coarse, range(len(y)), y))
        source_x, source_y = wanted_x.copy(), wanted_y.copy()
        for _ in range(12):  # enough to stay below a pixel where the depth is steepest
            moved_x, moved_y = self._turned(source_x, source_y, pose)
            source_x += wanted_x - moved_x
            source_y += wanted_y - moved_y
            if max(abs(wanted_x - moved_x).max(), abs(wanted_y - moved_y).max()) < 0.03:
                break
        fine = np.linspace(0.5, count - 0.5, len(x))
        both = np.stack([source_x, source_y], axis=-1).astype(np.float32)
        both = resampled(resampled(both, fine, 0), fine, 1)
        return both[..., 0], both[..., 1]

    def _turned(self, x: np.ndarray, y: np.ndarray, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Where the points (x, y) of the frontal picture go when the head turns."""
        figure = self.figure
        depth = ndimage.map_coordinates(figure.depth, [y / GRID, x / GRID], order=1, mode="nearest")
        point = np.stack([x - figure.pivot[0], y - figure.pivot[1], depth - figure.pivot[2]])
        turned = np.tensordot(_rotation(pose), point, axes=1)
        weight = (1 - smoothstep((y - figure.neck[0]) / (figure.neck[1] - figure.neck[0]))) * figure.fade(x, y)
        moved_x = x + weight * (turned[0] - point[0] + pose.shift_x)
        moved_y = y + weight * (turned[1] - point[1] + pose.shift_y)
        return moved_x, moved_y

    # --- expressions, in the frontal picture ----------------------------------------------------------------------

    def _relaxed(self, x: np.ndarray, y: np.ndarray, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Where in the photograph the points of the frontal picture with an expression come from."""
        x, y = x.copy(), y.copy()
        lower_face = y > self.points[topology.RIGHT_PUPIL, 1] + 12
        px, py = x[lower_face], y[lower_face]
        px = self._unpuckered(px, py, pose.pucker)
        x[lower_face], y[lower_face] = px, self._unopened(px, py, pose.mouth)
        for brow, lids, iris in (
            (_RIGHT_BROW, _RIGHT_LIDS, topology.RIGHT_PUPIL),
            (_LEFT_BROW, _LEFT_LIDS, topology.LEFT_PUPIL),
        ):
            centre = self.points[iris]
            near = (abs(x - centre[0]) < 28) & (y > centre[1] - 50) & (y < centre[1] + 12)
            px, py = x[near], y[near]
            py = self._unraised(px, py, brow, lids[0], pose.brows)
            x[near], y[near] = self._unblinked(px, py, lids, iris, pose)
        return x, y

    def _curve(self, indices: tuple[int, ...], x: np.ndarray) -> np.ndarray:
        """Height of a chain of landmarks (rising x) at columns x; constant beyond its ends."""
        chain = self.points[list(indices), :2]
        return np.interp(x, chain[:, 0], chain[:, 1]).astype(np.float32)

    def _unpuckered(self, x: np.ndarray, y: np.ndarray, pucker: float) -> np.ndarray:
        centre = self.points[[78, 308], :2].mean(axis=0)
        near = np.exp(-np.square((x - centre[0]) / 30) - np.square((y - centre[1]) / 17))
        return x + 0.45 * pucker * near * (x - centre[0])

    def _lip_drop(self, x: np.ndarray, mouth: float) -> np.ndarray:
        """How far the inner edge of the lower lip goes down at columns x; negative: up, to the upper lip at -1."""
        if mouth < 0:
            return mouth * (self._curve(_LOWER_LIP, x) - self._curve(_UPPER_LIP, x))
        left, right = self.points[78, 0], self.points[308, 0]
        across = np.clip(np.abs(2 * x - left - right) / (right - left), 0, 1)
        return mouth * _MOUTH_PX * (1 - across**2) ** 0.8

    def _unopened(self, x: np.ndarray, y: np.ndarray, mouth: float) -> np.ndarray:
        """The lower lip and the jaw: the drop of the lip becomes that of the jaw on the way to the chin."""
        drop = self._lip_drop(x, mouth)
        below = y - (self._curve(_LOWER_LIP, x) + drop)
        centre, chin = self.points[13, 0], self.points[152, 1]
        if mouth < 0:
            moved = drop * (1 - smoothstep(below / 22))
        else:
            jaw = 0.9 * mouth * _MOUTH_PX * np.exp(-np.square((x - centre) / 32))
            change = smoothstep(below / 28)
            fade = 1 - smoothstep((y - chin) / (self.figure.neck[1] - chin + 8))
            moved = ((1 - change) * drop + change * jaw) * fade
        return np.where(below > 0, y - moved, np.minimum(y, self._curve(_LOWER_LIP, x))).astype(np.float32)

    def _unraised(
        self, x: np.ndarray, y: np.ndarray, brow: tuple[int, ...], lid: tuple[int, ...], brows: float
    ) -> np.ndarray:
        """The brow with the skin around it: none of it moves at the lashes, the forehead gives way slowly."""
        centre = self.points[list(brow), :2].mean(axis=0)
        raised = _BROW_PX * brows
        lashes = self._curve(lid, x) - 2.5
        top = centre[1] - raised
        near = np.exp(-np.square(np.square((x - centre[0]) / 15)) - np.square(np.maximum(top - y, 0) / 14))
        return y + raised * near * smoothstep((lashes - y) / np.maximum(lashes - top, 1))

    def _unblinked(
        self, x: np.ndarray, y: np.ndarray, lids: tuple[tuple[int, ...], tuple[int, ...]], iris: int, pose: Pose
    ) -> tuple[np.ndarray, np.ndarray]:
        """Upper lid down over the eye, iris to the side inside the eye."""
        upper, lower = self._curve(lids[0], x), self._curve(lids[1], x)
        gap = np.maximum(lower - upper, 0)
        closed = upper + pose.blink * 1.05 * gap
        crease = upper - 10
        lid = smoothstep((y - crease) / (closed - crease))
        new_y = np.where(y < closed, y - pose.blink * 1.05 * gap * lid, y)
        centre = self.points[iris, 0] + _GAZE_PX * pose.gaze
        inside = smoothstep((y - closed) / 1.2 + 0.5) * smoothstep((lower - y) / 1.2 + 0.8) * (gap > 0)
        new_x = x - _GAZE_PX * pose.gaze * inside * np.exp(-np.square(np.square((x - centre) / 5.8)))
        return new_x.astype(np.float32), new_y.astype(np.float32)

    def _open_mouth(self, colour: np.ndarray, x: np.ndarray, y: np.ndarray, pose: Pose) -> None:
        """Paint darkness and tongue where the opened mouth shows more than the photograph: below the upper teeth."""
        if pose.mouth <= 0:
            return
        left, right = self.points[78, 0], self.points[308, 0]
        near = (x > left) & (x < right) & (y > self.points[0, 1]) & (y < self.points[17, 1] + _MOUTH_PX)
        x, y = x[near], y[near]
        x = self._unpuckered(x, y, pose.pucker)
        lower = self._curve(_LOWER_LIP, x)
        drop = self._lip_drop(x, pose.mouth)
        # the photograph ends above the lower lip's edge, where its light begins
        open_ = smoothstep((y - lower + 1.6) / 1.6) * smoothstep((lower + drop - y) / 1.2 + 0.5)
        open_ *= np.clip(drop / 2.0, 0, 1)
        down = np.clip((y - lower) / np.maximum(drop, 1), 0, 1)
        across = np.abs(2 * x - left - right) / (right - left)
        tongue = smoothstep((down - 0.35) / 0.5) * (1 - smoothstep((across - 0.25) / 0.5)) * min(pose.mouth, 1.0)
        inside = _CAVITY + 0.75 * tongue[:, None] * (_TONGUE - _CAVITY)
        colour[near] += open_[:, None] * (inside - colour[near])


def _rotation(pose: Pose) -> np.ndarray:
    """Image axes: x right, y down, z away from the camera."""
    yaw, pitch, roll = np.radians([pose.yaw, pose.pitch, pose.roll])
    about_y = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
