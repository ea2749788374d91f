"""Photographs made ready to move: laid out around the face, with its landmarks and its depth.

Every figure lies as scikit-image's portrait of an astronaut does, so that `puppet.py` has one set of measures. That
portrait was measured by hand (`astronaut.json`): its head is a layer of its own in front of the rest of the picture.
Of any other portrait nobody knows the outline: there the picture is one layer, whose motion fades around the head.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.interpolate import RBFInterpolator

from fye_model.easing import smoothstep
from fye_model.landmarks import topology
from fye_model.landmarks.geometry import weighted_procrustes
from tasks.samples.warping import fill_hole

OVERSAMPLING = 3  # the photograph is enlarged once, smoothly, and then read bilinearly
TOP = 48  # rows of mirrored backdrop above the astronaut's photograph, for frames that look higher
GRID = 4  # photograph pixels between nodes of the maps that vary slowly
BACK_DEPTH = 30.0  # of the head's outline; the nose is at -25
EYES_PX = 60.3  # between the outer corners of the astronaut's eyes

_MEASURED = Path(__file__).with_name("astronaut.json")
_PIVOT = np.array([226.0, 158.0, 32.0])  # where the neck carries the head
_CENTRE = (227.0, 106.0)
_NECK = (180.0, 203.0)  # between these rows the head's motion fades into the collar

_SIDE = 360  # of any other portrait's sheet, in pixels of the astronaut's photograph
_SHIFT = np.array([-47.0, 74.0, 0.0])  # of the astronaut's measures on that sheet: its view is then in the middle
_CHIN = 152
_NECK_BELOW_CHIN = (1.5, 24.5)
_SKULL = (1.3, 1.45)  # half axes of the head over those of the face, with hair
_SMOOTH = Image.Resampling.BICUBIC
_BLUR_PX = 12.0  # of the border's colours where they run on
_FADE_PX = 70.0  # over which the motion fades outside the head: less would fold the picture


@dataclass(frozen=True)
class Figure:
    """A photograph in the astronaut's measures, in pixels of the sheet that it lies on.

    points: (478, 3). head: (h, w, 4) float32, colour and alpha, OVERSAMPLING times as large as the sheet. backdrop:
    what the head leaves free, with TOP rows more, or None where `head` is the whole picture. depth: (h / GRID, w /
    GRID). low, high: corners around what moves, x and y. neck: rows between which the head's motion fades. skull: half
    axes of an ellipse around `skull_centre` outside which it fades too; None where the head is a layer of its own.
    """

    points: np.ndarray
    head: np.ndarray
    backdrop: np.ndarray | None
    depth: np.ndarray
    low: np.ndarray
    high: np.ndarray
    pivot: np.ndarray
    centre: tuple[float, float]
    neck: tuple[float, float]
    skull_centre: np.ndarray | None = None
    skull: np.ndarray | None = None

    def fade(self, x: np.ndarray, y: np.ndarray) -> np.ndarray | float:
        """How much of the head's motion points outside it take part in: 1 to 0."""
        if self.skull is None or self.skull_centre is None:
            return 1.0
        away = np.hypot((x - self.skull_centre[0]) / self.skull[0], (y - self.skull_centre[1]) / self.skull[1])
        return 1 - smoothstep((away - 1) * self.skull.min() / _FADE_PX)


def astronaut() -> Figure:
    """The public-domain portrait that scikit-image brings."""
    from skimage import data  # only the samples need it

    measured = json.loads(_MEASURED.read_text())
    photograph = Image.fromarray(data.astronaut())
    points = np.array(measured["points"], np.float32)
    outline = [tuple(point) for point in measured["head_outline"]]
    scale = OVERSAMPLING
    width, height = photograph.size
    large = np.asarray(photograph.resize((width * scale, height * scale), Image.Resampling.BICUBIC), np.float32)
    matte = Image.new("L", (width * scale, height * scale))
    ImageDraw.Draw(matte).polygon([(x * scale, y * scale) for x, y in outline], fill=255)
    inside = np.asarray(matte, np.float32) / 255
    # half a pixel less than the outline, so that no rim of backdrop moves along
    soft = np.clip(ndimage.gaussian_filter(inside, 0.8 * scale) * 1.5 - 0.5, 0, 1)
    return Figure(
        points=points,
        head=np.concatenate([large, soft[..., None] * 255], axis=-1),
        backdrop=_without_head(np.asarray(photograph, np.float32), inside[::scale, ::scale] > 0),
        depth=_depth_map(points, np.array(outline), _PIVOT, _NECK, (width, height)),
        low=np.min(outline, axis=0) - 3,
        high=np.max(outline, axis=0) + 3,
        pivot=_PIVOT,
        centre=_CENTRE,
        neck=_NECK,
    )


def figure_of(picture: Image.Image, points_px: np.ndarray) -> Figure:
    """Any portrait, its face laid over the astronaut's: turned upright, moved and scaled.

    picture: upright RGB. points_px: its face, (478, 3) in pixels, z in their unit.
    """
    measured = np.array(json.loads(_MEASURED.read_text())["points"]) + _SHIFT
    rotation, scale = _lay_over(points_px, measured)
    turned = scale * points_px[:, :2] @ rotation.T
    offset = measured[: topology.MESH_POINTS, :2].mean(axis=0) - turned[: topology.MESH_POINTS].mean(axis=0)
    depth = scale * points_px[:, 2]
    depth += (measured[: topology.MESH_POINTS, 2] - depth[: topology.MESH_POINTS]).mean()
    points = np.column_stack([turned + offset, depth]).astype(np.float32)

    oval = points[list(topology.FACE_OVAL), :2]
    low, high = oval.min(axis=0), oval.max(axis=0)
    centre, half = (low + high) / 2, (high - low) / 2
    outline = centre + (oval - centre) * _SKULL
    pivot = _PIVOT + _SHIFT
    neck = (float(points[_CHIN, 1]) + _NECK_BELOW_CHIN[0], float(points[_CHIN, 1]) + _NECK_BELOW_CHIN[1])
    colour = _laid_out(picture, rotation, scale, offset)
    return Figure(
        points=points,
        head=np.concatenate([colour, np.full((*colour.shape[:2], 1), 255, np.float32)], axis=-1),
        backdrop=None,
        depth=_depth_map(points, outline, pivot, neck, (_SIDE, _SIDE)),
        low=np.array([-np.inf, -np.inf]),
        high=np.array([np.inf, np.inf]),
        pivot=pivot,
        centre=(_CENTRE[0] + _SHIFT[0], _CENTRE[1] + _SHIFT[1]),
        neck=neck,
        skull_centre=centre,
        skull=half * _SKULL,
    )


def _lay_over(points_px: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, float]:
    """Rotation (2, 2) and scale in the picture's plane that bring a face closest to the astronaut's."""
    flat = np.zeros((2, topology.MESH_POINTS, 3))
    flat[0, :, :2], flat[1, :, :2] = points_px[: topology.MESH_POINTS, :2], measured[: topology.MESH_POINTS, :2]
    rotation, scale, _ = weighted_procrustes(flat[0], flat[1][None], np.ones(topology.MESH_POINTS))
    return rotation[0, :2, :2], float(scale[0])


def _laid_out(picture: Image.Image, rotation: np.ndarray, scale: float, offset: np.ndarray) -> np.ndarray:
    """The picture on the sheet, enlarged, (OVERSAMPLING * _SIDE, the same, 3) float32; its borders run on smoothly."""
    reduced = max(int(1 / (scale * OVERSAMPLING)), 1)  # large pictures are shrunk first, so that nothing flickers
    small = picture.reduce(reduced) if reduced > 1 else picture
    matrix = np.column_stack([rotation.T, -rotation.T @ offset]) / (scale * reduced)  # of a sheet's pixel into it
    matrix[:, :2] /= OVERSAMPLING
    side, coefficients = OVERSAMPLING * _SIDE, tuple(matrix.reshape(-1))
    laid = small.transform((side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
    white = Image.new("L", small.size, 255)
    covered = np.asarray(white.transform((side, side), Image.Transform.AFFINE, coefficients), np.float32) / 255
    colour = np.asarray(laid, np.float32)
    if covered.all():
        return colour
    # a border's last pixels are mixed with what lies beyond, so the fill begins a little further in
    coarse = ndimage.minimum_filter(covered, 4 * OVERSAMPLING + 1)[1::OVERSAMPLING, 1::OVERSAMPLING] < 1
    known = colour[1::OVERSAMPLING, 1::OVERSAMPLING]
    row, column = ndimage.distance_transform_edt(coarse, return_distances=False, return_indices=True)
    base = ndimage.gaussian_filter(known[row, column], (_BLUR_PX, _BLUR_PX, 0))  # the fill tends to it far away
    filled = fill_hole(np.where(coarse[..., None], 0, known - base), coarse) + base
    beyond = Image.fromarray(np.clip(np.rint(filled), 0, 255).astype(np.uint8)).resize((side, side), _SMOOTH)
    inside = ndimage.minimum_filter(covered, 2 * OVERSAMPLING + 1)
    weight = ndimage.uniform_filter(inside, 2 * OVERSAMPLING)[..., None]
    result: np.ndarray = weight * colour + (1 - weight) * np.asarray(beyond, np.float32)
    return result


def _depth_map(
    points: np.ndarray, outline: np.ndarray, pivot: np.ndarray, neck: tuple[float, float], size: tuple[int, int]
) -> np.ndarray:
    """Depth on the grid, smooth over the face and flat at the head's outline: (height / GRID, width / GRID)."""
    width, height = size
    mesh = points[: topology.MESH_POINTS]
    around = outline[outline[:, 1] < neck[0] - 40]
    known = np.concatenate([mesh[:, :2], around])
    depth = np.concatenate([np.minimum(mesh[:, 2], BACK_DEPTH), np.full(len(around), BACK_DEPTH)])
    surface = RBFInterpolator(known, depth, smoothing=20.0, neighbors=60)
    y, x = np.mgrid[0:height:GRID, 0:width:GRID].astype(float)
    near = (abs(x - pivot[0]) < 100) & (y < neck[1] + 37)
    grid = np.full(x.shape, BACK_DEPTH)
    grid[near] = surface(np.stack([x[near], y[near]], axis=-1))
    return ndimage.gaussian_filter(np.clip(grid, -30, BACK_DEPTH), 0.8).astype(np.float32)


def _without_head(photograph: np.ndarray, head: np.ndarray) -> np.ndarray:
    """The photograph with the head filled in from its surroundings, and mirrored rows on top."""
    hole = ndimage.binary_dilation(head, iterations=4)
    photograph = np.concatenate([photograph[TOP:0:-1], photograph])
    hole = np.concatenate([hole[TOP:0:-1], hole])
    return fill_hole(photograph, hole)
