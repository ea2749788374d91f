"""The part of a picture that SyncNet sees: the face, with room below the chin, as its published pipeline cuts it.

There a face detector's box is followed; here the box around the mesh's points, which reaches from the hairline to the
chin and from ear to ear as that detector's does, if not to the pixel.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fye_model.landmarks import topology
from fye_model.lip_sync.network import SIDE_PX

_SMOOTHED = 13  # frames: the median over them is taken, so that the window does not tremble
_SCALE = 0.4  # of half the box: added left and right, and twice below
_OUTSIDE = 110  # grey level of what lies outside the picture


def face_windows(points_px: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Points (f, n, 2) in pixels, those that are valid (f,) -> (f, 3): middle (x, y) and half the side of each box.

    Between frames with a face the box moves evenly, before the first and after the last it stands. Raises ValueError
    where no frame is valid.
    """
    there = np.flatnonzero(valid)
    if not there.size:
        raise ValueError("no frame has a face to cut out")
    mesh = points_px[there, : topology.MESH_POINTS].astype(np.float64)
    low, high = mesh.min(axis=1), mesh.max(axis=1)
    known = np.column_stack([(low + high) / 2, (high - low).max(axis=1) / 2])
    every = np.arange(len(valid))
    filled = np.stack([np.interp(every, there, column) for column in known.T], axis=1)
    padded = np.pad(filled, ((_SMOOTHED // 2, _SMOOTHED // 2), (0, 0)), mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, _SMOOTHED, axis=0), axis=-1))


def cut_faces(frames: Iterable[np.ndarray], windows: np.ndarray) -> Tensor:
    """Frames (h, w, 3) uint8, their windows (f, 3) -> (3, f, 224, 224) uint8, blue first.

    Blue first, because the published pipeline reads its pictures so.
    """
    return torch.stack([_cut(frame, window) for frame, window in zip(frames, windows, strict=True)], dim=1)


def _cut(frame: np.ndarray, window: np.ndarray) -> Tensor:
    x, y, half = window
    wide, below = half * (1 + _SCALE), half * (1 + 2 * _SCALE)
    left, right, top, bottom = (int(np.floor(edge)) for edge in (x - wide, x + wide, y - half, y + below))
    height, width = frame.shape[:2]
    piece = np.full((max(bottom - top, 1), max(right - left, 1), 3), _OUTSIDE, np.uint8)
    rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
    shown = frame[rows, columns]
    piece[max(-top, 0) :, max(-left, 0) :][: shown.shape[0], : shown.shape[1]] = shown
    picture = torch.from_numpy(piece[:, :, ::-1].copy()).permute(2, 0, 1)[None].float()
    resized = functional.interpolate(picture, (SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False)
    return resized[0].round().to(torch.uint8)
