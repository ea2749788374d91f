"""What lies over a face or beside it: hands and things in front of it, subtitles and marks laid on the picture.

Both are cheap signs, not models. What covers a face changes its colour where expressions hardly do: on the cheeks, the
forehead, the nose and the chin, each place against its own median over the clip. Lettering stands still: bright and
dark edges close together, in the same place for a second and more, in cells that make a line.

Measured on nine real videos (26 clips of up to 5 s at 512 pixels; crossed eyes, pouts, laughter, turned heads), as they
are and with things drawn on them:

| | covered | above 0.15 | lettering | above 0.3 |
|---|---|---|---|---|
| as they are | 0 to 0.11 | 0 of 26 | 0 to 0.13 | 0 of 26 |
| half a second of a hand, 15% darker than the person's own skin | 0.05 to 0.39 | 20 | | |
| the same, 30% darker; 20% brighter | 0.20 to 0.45; 0.10 to 0.40 | 26; 21 | | |
| the same of dark grey | 0.41 to 0.95 | 26 | | |
| subtitles of 18, 24 and 28 pixels | | 0 | 0.5, 0.63, 0.75 | 26 |
| a pale mark of 24 pixels in a corner | | 0 | 0 (white wall) to 0.31 | 16 |

A hand of just the skin's colour is not seen, nor what covers the face for most of the clip: a mask is the face's usual
look. Blinds, shelves and writing behind the person make lines, too. Both together take 0.2 ms a frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fye_model.config import Config
from fye_model.landmarks import topology
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.table import LandmarkSequence
from tasks.faces.detector import DetectedFace

EVERY = 10  # frames from one that is looked at to the next
_COLOUR = 30.0  # grey levels by which a place looks otherwise than usual
_FACING = 0.5  # cosine of the angle to the camera up to which a place of the face is looked at
_LIVELY_CM = ((topology.OUTER_LIPS, 0.9), (topology.RIGHT_EYE, 0.6), (topology.LEFT_EYE, 0.6))
_LIVELY_BROWS_CM = ((topology.RIGHT_BROW, 0.5), (topology.LEFT_BROW, 0.5))
_BEHIND_CM = 6.0  # of the middle of the mesh: the centre from which its places face outwards
_EDGE = 40  # grey levels across two pixels
_STAYS = 3  # looks in a row in which an edge has to be
_ROWS, _COLUMNS = 32, 16  # cells of the picture
_DENSE = 0.03  # of a cell's pixels that are edges of either kind, from which it holds strokes
_DIGITS = 4


class OverlayRow(Config):
    """covered: share of the face's calm parts that looks otherwise than usual, in the worst frame looked at.

    lettering: the longest line of still strokes, as a share of the picture's width. None: not measured, by an earlier
    version or in a clip too short for it.
    """

    covered: float | None = None
    lettering: float | None = None


class OverlayScores:
    """Gathers every `EVERY`-th frame while frames pass by."""

    def __init__(self) -> None:
        self._frame = 0
        self._seen: list[int] = []
        self._colours: list[np.ndarray] = []
        self._edges: list[tuple[np.ndarray, np.ndarray]] = []
        self._lettering: float | None = None

    def add(self, rgb: np.ndarray, face: DetectedFace | None) -> None:
        """Look at this frame (h, w, 3) uint8, in which `face` is followed, if it is one of those."""
        if self._frame % EVERY == 0:
            if face is not None:
                self._seen.append(self._frame)
                self._colours.append(_colours(rgb, face.points))
            self._edges = [*self._edges[1 - _STAYS :], _strokes(rgb)]
            if len(self._edges) == _STAYS:
                self._lettering = max(self._lettering or 0.0, _longest_line(self._edges))
        self._frame += 1

    def row(self, sequence: LandmarkSequence, geometry: FaceGeometry) -> OverlayRow:
        """The scores. sequence: of all frames that passed, with poses."""
        kept = [place for place, frame in enumerate(self._seen) if sequence.valid[frame]]
        shares = None
        if len(kept) >= _STAYS and sequence.matrix is not None:
            frames = [self._seen[place] for place in kept]
            shares = covered(np.stack([self._colours[place] for place in kept]), sequence.matrix[frames], geometry)
        return OverlayRow(
            covered=None if shares is None else round(float(shares.max()), _DIGITS),
            lettering=None if self._lettering is None else round(self._lettering, _DIGITS),
        )


def covered(colours: np.ndarray, poses: np.ndarray, geometry: FaceGeometry) -> np.ndarray:
    """Share of the calm places facing the camera that look otherwise than usual, (f,).

    colours: (f, 468, 3) at the mesh's points, 0 to 255; poses: (f, 4, 4). A change of light is taken out: of each
    frame's differences their median, colour by colour.
    """
    calm, outwards = _calm_places(geometry)
    facing = (outwards @ poses[:, 2, :3].T).T > _FACING  # (f, n)
    seen = np.ma.masked_array(colours[:, calm], np.repeat(~facing[..., None], 3, axis=2))
    apart = seen - np.ma.median(seen, axis=0)
    apart = np.ma.abs(apart - np.ma.median(apart, axis=1)[:, None])
    changed = apart.max(axis=2).filled(0.0) > _COLOUR
    return np.asarray(changed.sum(axis=1) / np.maximum(facing.sum(axis=1), 1))


def _calm_places(geometry: FaceGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Mesh points that expressions hardly move, and where they face in the canonical face: (n,), (n, 3)."""
    mesh = geometry.canonical
    lively = np.zeros(len(mesh), bool)
    for points, radius in (*_LIVELY_CM, *_LIVELY_BROWS_CM):
        far = np.linalg.norm(mesh[:, None, :2] - mesh[None, list(points), :2], axis=2).min(axis=1)
        lively |= far < radius
    calm = np.flatnonzero(~lively)
    outwards = mesh[calm] - (mesh.mean(axis=0) - (0.0, 0.0, _BEHIND_CM))
    return calm, outwards / np.linalg.norm(outwards, axis=1, keepdims=True)


def _colours(rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Colours around the mesh's points, fractions of the picture: (468, 3)."""
    height, width = rgb.shape[:2]
    at = points[: topology.MESH_POINTS, :2] * (width, height)
    step = max(1, round(width / 256))
    near = []
    for dx, dy in ((-step, 0), (step, 0), (0, -step), (0, step)):
        x = np.clip((at[:, 0] + dx).astype(int), 0, width - 1)
        y = np.clip((at[:, 1] + dy).astype(int), 0, height - 1)
        near.append(rgb[y, x].astype(np.float32))
    return np.asarray(np.mean(near, axis=0))


def _strokes(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a picture becomes clearly brighter to the right, and darker: (h, w - 2) bool each."""
    grey = rgb[..., 1].astype(np.int16)
    change = grey[:, 2:] - grey[:, :-2]
    return change > _EDGE, change < -_EDGE


def _longest_line(looks: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The longest row of cells in which edges of both kinds stay, as a share of the picture's width."""
    brighter, darker = (np.logical_and.reduce(kind) for kind in zip(*looks, strict=True))
    height, width = brighter.shape
    tall, wide = max(1, height // _ROWS), max(1, (width + 2) // _COLUMNS)
    longest = 0
    for first in (0, tall // 2):  # a line may lie across two rows of cells
        held = (_dense(brighter[first:], tall, wide)) & (_dense(darker[first:], tall, wide))
        for row in held:
            ends = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]])))
            longest = max([longest, *(ends[1::2] - ends[::2])])
    return longest / _COLUMNS


def _dense(edges: np.ndarray, tall: int, wide: int) -> np.ndarray:
    """Which cells of so many rows and columns hold enough edges; what is left over at the end is none's."""
    rows, columns = edges.shape[0] // tall, -(-edges.shape[1] // wide)
    padded = np.pad(edges[: rows * tall], ((0, 0), (0, columns * wide - edges.shape[1])))
    return np.asarray(padded.reshape(rows, tall, columns, wide).mean(axis=(1, 3)) > _DENSE)
