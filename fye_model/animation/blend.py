"""A made face laid over footage without a seam: where it is taken, and in which colours."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter1d

from fye_model.easing import smoothstep
from fye_model.landmarks import topology
from fye_model.landmarks.masks import face_mask

# Fractions of the face's longer side. Around a head that turns by itself, hair and ears have to come along.
_GROWN = {"footage": 0.02, "driver": 0.3}
_SOFT = {"footage": 0.14, "driver": 0.2}
_BORDER = 0.06  # of the square's side, over which everything fades out: nothing ends at the square's edge
_STEADY_S = 0.06  # the contour is averaged over about so long: detection jitters by a pixel, an edge must not
_COLOUR_S = 0.25  # light changes slower than noise
_LEAST = 1.0  # pixels of seam from which a colour can be told


def steady(points: np.ndarray, fps: float) -> np.ndarray:
    """Contours averaged over time without lag, for masks alone: (f, n, 2), frames without NaN -> the same shape."""
    result: np.ndarray = gaussian_filter1d(points, _STEADY_S * fps, axis=0, mode="nearest")
    return result


def soft_mask(faces: np.ndarray, size: int, head: str = "footage") -> np.ndarray:
    """How much of the made face is taken at each pixel of its square: (size, size) float32 from 0 to 1.

    faces: (n, 478, 2) pixels of the square: the drawn face and the footage's own, which is covered where it is larger.
    1 within them and a little around, falling off smoothly to 0. head: `footage`, or `driver` for a mask that holds
    the whole head.
    """
    inside = face_mask(faces, size, size).any(axis=0)
    if not inside.any():
        return np.zeros((size, size), np.float32)
    oval = faces[:, list(topology.FACE_OVAL)].reshape(-1, 2)
    longer = float(np.ptp(oval, axis=0).max())
    away = np.asarray(distance_transform_edt(~inside))
    fallen = (away - _GROWN[head] * longer) / (_SOFT[head] * longer)
    along = smoothstep(np.minimum(np.arange(size), np.arange(size)[::-1]) / (_BORDER * size))
    return (smoothstep(1 - fallen) * np.outer(along, along)).astype(np.float32)


class ColourKeeper:
    """Brings made faces to the footage's light: by the mean difference of colour along the seam, slowly over time.

    Both show the same skin there, whatever the expression. One for each run of frames.
    """

    def __init__(self, fps: float) -> None:
        self._gain = 1 - np.exp(-1 / (_COLOUR_S * fps))
        self._shift: np.ndarray | None = None

    def __call__(self, made: np.ndarray, footage: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """made, footage: (size, size, 3) uint8 of one square; mask: (size, size) -> the made one, shifted."""
        seam = mask * (1 - mask)
        total = float(seam.sum())
        if total > _LEAST:
            difference = footage.astype(np.float32) - made
            here = (difference * seam[..., None]).sum(axis=(0, 1)) / total
            self._shift = here if self._shift is None else self._shift + self._gain * (here - self._shift)
        if self._shift is None:
            return made
        return np.clip(np.rint(made + self._shift), 0, 255).astype(np.uint8)
