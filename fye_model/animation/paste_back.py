"""Made squares put back into their portrait, frame after frame: the head performs, and the picture around it stands."""

from __future__ import annotations

import numpy as np
from PIL import Image

from fye_model.animation.blend import ColourKeeper, head_mask, steady
from fye_model.animation.portrait import Cut


class PasteBack:
    """Puts the squares of one face back, in playing order.

    cut: where they lie; reference: what the portrait shows there, at the model's size; own: (478, 2) its face and
    drawn: (f, 478, 2) the faces that are drawn, pixels of the square. Without `own`, nobody knows what of the portrait
    the drawn face covers: then the whole square is put back, blended at its border.
    """

    def __init__(self, cut: Cut, reference: Image.Image, own: np.ndarray | None, drawn: np.ndarray, fps: float) -> None:
        self.cut, self.own = cut, own
        self._reference = np.asarray(reference)
        self._drawn = drawn if own is None else steady(drawn, fps)
        self._colours = ColourKeeper(fps)

    def mask(self, frame: int) -> np.ndarray | None:
        """How much of the made picture there is in one frame: (side, side) from 0 to 1; None: `Cut.paste`'s own."""
        mask = self._mask(frame)
        return None if mask is None else self._enlarged(mask)

    def __call__(self, picture: np.ndarray, made: np.ndarray, frame: int) -> np.ndarray:
        """The picture (h, w, 3) uint8 with the made square (size, size, 3) uint8 of one frame in it."""
        mask = self._mask(frame)
        if mask is None or self.own is None:
            return self.cut.paste(picture, made)
        made = self._colours.of_skin(made, self._reference, self._drawn[frame], self.own, mask)
        return self.cut.paste(picture, made, self._enlarged(mask))

    def _enlarged(self, mask: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(mask).resize((self.cut.square.side,) * 2, Image.Resampling.BILINEAR))

    def _mask(self, frame: int) -> np.ndarray | None:
        """At the model's size."""
        if self.own is None:
            return None
        faces = np.stack([self.own, self._drawn[frame]])
        return head_mask(faces, len(self._reference), self.cut.seams)
