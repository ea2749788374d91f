"""A photograph that moves as told: the public-domain portrait that scikit-image brings, turned and animated.

The head is a layer of its own in front of the rest of the picture. Its depth comes from landmarks measured once on this
photograph (`astronaut.json`), so that a turn of the head is a rotation in three dimensions; lids, irises, brows, lips
and jaw are moved in the frontal picture before that. Every map is smooth, and goes from the pixel of the frame back to
the photograph.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.interpolate import RBFInterpolator

from fye_model.landmarks import topology

_MEASURED = Path(__file__).with_name("astronaut.json")
_OVERSAMPLING = 3  # the photograph is enlarged once, smoothly, and then read bilinearly
_TOP = 48  # rows of mirrored backdrop above the photograph, for frames that look higher
_GRID = 4  # photograph pixels between nodes of the maps that vary slowly
_PIVOT = np.array([226.0, 158.0, 32.0])  # where the neck carries the head
_BACK_DEPTH = 30.0  # of the head's outline; the nose is at -25
_NECK = (180.0, 203.0)  # between these rows the head's motion fades into the collar
_VIEW = 212.0  # side of the square that a frame shows at zoom 1
_CENTRE = (227.0, 106.0)
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
    """The photograph taken apart into head and backdrop; `frame` puts it together in a pose."""

    def __init__(self) -> None:
        from skimage import data  # only the samples need it

        measured = json.loads(_MEASURED.read_text())
        photograph = Image.fromarray(data.astronaut())
        self.points = np.array(measured["points"], np.float32)
        outline = [tuple(point) for point in measured["head_outline"]]
        scale = _OVERSAMPLING
        width, height = photograph.size
        large = np.asarray(photograph.resize((width * scale, height * scale), Image.Resampling.BICUBIC), np.float32)
        matte = Image.new("L", (width * scale, height * scale))
        ImageDraw.Draw(matte).polygon([(x * scale, y * scale) for x, y in outline], fill=255)
        inside = np.asarray(matte, np.float32) / 255
        # half a pixel less than the outline, so that no rim of backdrop moves along
        soft = np.clip(ndimage.gaussian_filter(inside, 0.8 * scale) * 1.5 - 0.5, 0, 1)
        self._head = np.concatenate([large, soft[..., None] * 255], axis=-1)
        self._backdrop = _without_head(np.asarray(photograph, np.float32), inside[::scale, ::scale] > 0)
        self._depth = self._depth_map(np.array(outline), width, height)
        self._low, self._high = np.min(outline, axis=0) - 3, np.max(outline, axis=0) + 3

    def _depth_map(self, outline: np.ndarray, width: int, height: int) -> np.ndarray:
        """Depth on the grid, smooth over the face and flat at the head's outline: (height / 4, width / 4)."""
        mesh = self.points[: topology.MESH_POINTS]
        around = outline[outline[:, 1] < _NECK[0] - 40]
        known = np.concatenate([mesh[:, :2], around])
        depth = np.concatenate([np.minimum(mesh[:, 2], _BACK_DEPTH), np.full(len(around), _BACK_DEPTH)])
        surface = RBFInterpolator(known, depth, smoothing=20.0, neighbors=60)
        y, x = np.mgrid[0:height:_GRID, 0:width:_GRID].astype(float)
        near = (abs(x - _PIVOT[0]) < 100) & (y < 240)
        grid = np.full(x.shape, _BACK_DEPTH)
        grid[near] = surface(np.stack([x[near], y[near]], axis=-1))
        return ndimage.gaussian_filter(np.clip(grid, -30, _BACK_DEPTH), 0.8).astype(np.float32)

    def frame(self, pose: Pose, size: int) -> np.ndarray:
        """The photograph in this pose: (size, size, 3) uint8."""
        view = _VIEW / pose.zoom
        axis = (np.arange(size, dtype=np.float32) + 0.5) / size * view
        x = axis + (_CENTRE[0] + 0.3 * pose.shift_x - view / 2)
        y = axis + max(_CENTRE[1] + 0.3 * pose.shift_y - view / 2, -_TOP + 2.0)
        picture = _resampled(_resampled(self._backdrop, y + _TOP, 0), x, 1)
        head_x, head_y = self._unturned(x, y, pose)
        # only there can the head be: the maps and the reading below are most of the work
        near = (head_x > self._low[0]) & (head_x < self._high[0]) & (head_y > self._low[1])
        rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        head_x, head_y = head_x[window], head_y[window]
        shown = _sample(self._head, *self._relaxed(head_x, head_y, pose), _OVERSAMPLING)
        colour, alpha = shown[..., :3], shown[..., 3:] / 255
        self._open_mouth(colour, head_x, head_y, pose)
        picture[window] += alpha * (colour - picture[window])
        return np.clip(np.rint(picture), 0, 255).astype(np.uint8)

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
        both = _resampled(_resampled(both, fine, 0), fine, 1)
        return both[..., 0], both[..., 1]

    def _turned(self, x: np.ndarray, y: np.ndarray, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Where the points (x, y) of the frontal picture go when the head turns."""
        depth = ndimage.map_coordinates(self._depth, [y / _GRID, x / _GRID], order=1, mode="nearest")
        point = np.stack([x - _PIVOT[0], y - _PIVOT[1], depth - _PIVOT[2]])
        turned = np.tensordot(_rotation(pose), point, axes=1)
        weight = 1 - _smoothstep((y - _NECK[0]) / (_NECK[1] - _NECK[0]))
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
            moved = drop * (1 - _smoothstep(below / 22))
        else:
            jaw = 0.9 * mouth * _MOUTH_PX * np.exp(-np.square((x - centre) / 32))
            change = _smoothstep(below / 28)
            fade = 1 - _smoothstep((y - chin) / (_NECK[1] - chin + 8))
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
        return y + raised * near * _smoothstep((lashes - y) / np.maximum(lashes - top, 1))

    def _unblinked(
        self, x: np.ndarray, y: np.ndarray, lids: tuple[tuple[int, ...], tuple[int, ...]], iris: int, pose: Pose
    ) -> tuple[np.ndarray, np.ndarray]:
        """Upper lid down over the eye, iris to the side inside the eye."""
        upper, lower = self._curve(lids[0], x), self._curve(lids[1], x)
        gap = np.maximum(lower - upper, 0)
        closed = upper + pose.blink * 1.05 * gap
        crease = upper - 10
        lid = _smoothstep((y - crease) / (closed - crease))
        new_y = np.where(y < closed, y - pose.blink * 1.05 * gap * lid, y)
        centre = self.points[iris, 0] + _GAZE_PX * pose.gaze
        inside = _smoothstep((y - closed) / 1.2 + 0.5) * _smoothstep((lower - y) / 1.2 + 0.8) * (gap > 0)
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
        open_ = _smoothstep((y - lower + 1.6) / 1.6) * _smoothstep((lower + drop - y) / 1.2 + 0.5)
        open_ *= np.clip(drop / 2.0, 0, 1)
        down = np.clip((y - lower) / np.maximum(drop, 1), 0, 1)
        across = np.abs(2 * x - left - right) / (right - left)
        tongue = _smoothstep((down - 0.35) / 0.5) * (1 - _smoothstep((across - 0.25) / 0.5)) * min(pose.mouth, 1.0)
        inside = _CAVITY + 0.75 * tongue[:, None] * (_TONGUE - _CAVITY)
        colour[near] += open_[:, None] * (inside - colour[near])


def _rotation(pose: Pose) -> np.ndarray:
    """Image axes: x right, y down, z away from the camera."""
    yaw, pitch, roll = np.radians([pose.yaw, pose.pitch, pose.roll])
    about_y = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _smoothstep(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _without_head(photograph: np.ndarray, head: np.ndarray) -> np.ndarray:
    """The photograph with the head filled in from its surroundings, and mirrored rows on top.

    The fill is harmonic (every pixel the mean of its neighbours), solved from coarse to fine.
    """
    hole = ndimage.binary_dilation(head, iterations=4)
    photograph = np.concatenate([photograph[_TOP:0:-1], photograph])
    hole = np.concatenate([hole[_TOP:0:-1], hole])
    return _filled(photograph, hole)


def _filled(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    if hole.any() and min(hole.shape) > 8:
        known = (~hole).astype(np.float32)
        pad = [(0, size % 2) for size in hole.shape]
        weight = _halved(np.pad(known, pad))
        small = _halved(np.pad(picture * known[..., None], [*pad, (0, 0)])) / np.maximum(weight, 1e-6)[..., None]
        guess = _filled(small, weight == 0).repeat(2, axis=0).repeat(2, axis=1)[: hole.shape[0], : hole.shape[1]]
        picture = np.where(hole[..., None], guess, picture)
        for _ in range(24):
            around = ndimage.uniform_filter(picture, (3, 3, 0), mode="nearest")
            picture = np.where(hole[..., None], around, picture)
    return picture


def _halved(a: np.ndarray) -> np.ndarray:
    return (a[::2, ::2] + a[1::2, ::2] + a[::2, 1::2] + a[1::2, 1::2]) / 4


def _resampled(picture: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Linear reading along one axis, pixel centres at halves."""
    place = np.clip(positions - 0.5, 0, picture.shape[axis] - 1.001)
    start = place.astype(np.int32)
    weight = (place - start).astype(np.float32)[(slice(None), None, None) if axis == 0 else (slice(None), None)]
    return picture.take(start, axis) * (1 - weight) + picture.take(start + 1, axis) * weight


def _sample(picture: np.ndarray, x: np.ndarray, y: np.ndarray, scale: int) -> np.ndarray:
    """Bilinear reading of (h, w, c) at photograph positions, pixel centres at halves: x, y (n, m) -> (n, m, c)."""
    height, width, channels = picture.shape
    column = np.clip(x * scale - 0.5, 0, width - 1.001)
    row = np.clip(y * scale - 0.5, 0, height - 1.001)
    left, top = column.astype(np.int32), row.astype(np.int32)
    across, down = (column - left)[..., None], (row - top)[..., None]
    flat = picture.reshape(-1, channels)
    start = top * width + left
    upper, right = flat.take(start, 0), flat.take(start + 1, 0)
    upper += across * (right - upper)
    lower, right = flat.take(start + width, 0), flat.take(start + width + 1, 0)
    lower += across * (right - lower)
    return upper + down * (lower - upper)
