"""A made face laid over a picture without a seam: where it is taken, and in which colours."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter, gaussian_filter1d

from fye_model.easing import smoothstep
from fye_model.landmarks import topology
from fye_model.landmarks.masks import face_mask

# Fractions of the face's longer side.
_GROWN, _SOFT = 0.02, 0.14  # around a face whose head lies in both pictures alike
_HEAD = 0.4  # around a head that moves: so far out its hair and ears come along, more and more loosely
_WHOLE = 0.3  # of the way out of that head, up to which the made picture alone is shown
_BORDER = 0.06  # of the square's side, over which everything fades out: nothing ends at the square's edge
_STEADY_S = 0.06  # the contour is averaged over about so long: detection jitters by a pixel, an edge must not
_COLOUR_S = 0.25  # light changes slower than noise
_CAST = 12.0  # levels: skin of a face that a model knows is off by 2 to 4; what is farther off is another face's
_SAME, _OTHER = 8.0, 32.0  # levels apart, up to which two pictures show the same and from which they do not
_LEAST = 1.0  # pixels of seam from which a colour can be told

EVERY_SIDE = (True, True, True, True)


def steady(points: np.ndarray, fps: float) -> np.ndarray:
    """Contours averaged over time without lag, for masks alone: (f, n, 2), frames without NaN -> the same shape."""
    result: np.ndarray = gaussian_filter1d(points, _STEADY_S * fps, axis=0, mode="nearest")
    return result


def soft_mask(faces: np.ndarray, size: int) -> np.ndarray:
    """How much of the made face is taken at each pixel of its square: (size, size) float32 from 0 to 1.

    For heads that stand alike in both pictures. faces: (n, 478, 2) pixels of the square: the drawn face and the
    footage's own, which is covered where it is larger. 1 within them and a little around, falling off smoothly to 0.
    """
    away, longer = _away(faces, size)
    if longer == 0:
        return np.zeros((size, size), np.float32)
    fallen = (away - _GROWN * longer) / (_SOFT * longer)
    along = smoothstep(np.minimum(np.arange(size), np.arange(size)[::-1]) / (_BORDER * size))
    return (smoothstep(1 - fallen) * np.outer(along, along)).astype(np.float32)


def head_mask(faces: np.ndarray, size: int, seams: tuple[bool, bool, bool, bool] = EVERY_SIDE) -> np.ndarray:
    """As `soft_mask`, for a head that moves by itself: what it left has to be covered as well, and hair comes along.

    A square cuts through hair and background, which stand outside of it: so the made picture gives way on the whole way
    from the faces to the square's border, and beyond a head's size there is none of it. seams: whether the picture goes
    on beyond the square's left, top, right and bottom side; where it does not, there is nothing to meet.
    """
    away, longer = _away(faces, size)
    if longer == 0:
        return np.zeros((size, size), np.float32)
    left = np.minimum(np.maximum(_HEAD * longer - away, 0), _to_seam(size, seams))
    way = np.where(left > 0, away / np.maximum(away + left, 1e-6), 1)  # out of the faces: from 0 to 1
    border = smoothstep(_to_seam(size, seams) / (_BORDER * size))  # of a face that the square itself cuts
    return (smoothstep((1 - way) / (1 - _WHOLE)) * border).astype(np.float32)


def _away(faces: np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """Pixels (size, size) from the nearest face (n, 478, 2), and the faces' longer side; 0 where there is none."""
    inside = face_mask(faces, size, size).any(axis=0)
    if not inside.any():
        return np.zeros((size, size)), 0.0
    ovals = faces[:, list(topology.FACE_OVAL)]
    return np.asarray(distance_transform_edt(~inside)), float(np.nanmax(np.ptp(ovals, axis=1)))


def _to_seam(size: int, seams: tuple[bool, bool, bool, bool]) -> np.ndarray:
    """Pixels (size, size) to the next side of a square beyond which the picture goes on."""
    along, far = np.arange(size, dtype=float), np.full(size, np.inf)
    left, top, right, bottom = seams
    across = np.minimum(along if left else far, along[::-1] if right else far)
    down = np.minimum(along if top else far, along[::-1] if bottom else far)
    return np.minimum(down[:, None], across)


def with_detail(made: np.ndarray, footage: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """A made square as large as the footage's own, with the footage's fine detail where both show the same.

    For heads that stand alike in both: skin, brows and hair keep their grain, and what the driver changed is as the
    model drew it. made, footage: (size, size, 3) uint8 at the model's size; whole: (side, side, 3) uint8 the footage's
    at its own -> (side, side, 3) uint8.
    """
    side = len(whole)
    apart = gaussian_filter(np.abs(made.astype(np.float32) - footage).max(axis=-1), 1)
    same = _enlarged(smoothstep((_OTHER - apart) / (_OTHER - _SAME)), side, Image.Resampling.BILINEAR)
    drawn, there = (np.stack([_enlarged(one[..., c], side) for c in range(3)], axis=-1) for one in (made, footage))
    return np.clip(np.rint(drawn + same[..., None] * (whole - there)), 0, 255).astype(np.uint8)


def _enlarged(picture: np.ndarray, side: int, how: Image.Resampling = Image.Resampling.LANCZOS) -> np.ndarray:
    return np.asarray(Image.fromarray(picture.astype(np.float32)).resize((side, side), how))


class ColourKeeper:
    """Brings made faces to the light of what they are laid into, slowly over time. One for each run of frames."""

    def __init__(self, fps: float) -> None:
        self._gain = 1 - np.exp(-1 / (_COLOUR_S * fps))
        self._shift: np.ndarray | None = None

    def at_seam(self, made: np.ndarray, footage: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """For heads that stand alike in both, by the mean difference of colour along the seam: whatever the expression,
        both show the same skin there.

        made, footage: (size, size, 3) uint8 of one square; mask: (size, size) -> the made one, shifted.
        """
        seam = mask * (1 - mask)
        total = float(seam.sum())
        if total <= _LEAST:
            return self._shifted(made, None)
        difference = footage.astype(np.float32) - made
        return self._shifted(made, (difference * seam[..., None]).sum(axis=(0, 1)) / total)

    def of_skin(
        self, made: np.ndarray, portrait: np.ndarray, drawn: np.ndarray, own: np.ndarray, mask: np.ndarray
    ) -> np.ndarray:
        """For a head that moves, by the usual colour of its skin: along the seam there is hair beside background.

        made, portrait: (size, size, 3) uint8 of one square; drawn, own: (478, 2) the face in each; mask: (size, size)
        -> the made one, shifted as far as it is taken: what is no skin may be off otherwise.
        """
        size = len(made)
        here, there = face_mask(np.stack([drawn, own]), size, size)
        if min(here.sum(), there.sum()) <= _LEAST:
            return self._shifted(made, None)
        return self._shifted(
            made, (np.median(portrait[there], axis=0) - np.median(made[here], axis=0)).clip(-_CAST, _CAST), mask
        )

    def _shifted(self, made: np.ndarray, difference: np.ndarray | None, mask: np.ndarray | None = None) -> np.ndarray:
        if difference is not None:
            before = difference if self._shift is None else self._shift
            self._shift = before + self._gain * (difference - before)
        if self._shift is None:
            return made
        shift = self._shift if mask is None else self._shift * mask[..., None]
        return np.clip(np.rint(made + shift), 0, 255).astype(np.uint8)
