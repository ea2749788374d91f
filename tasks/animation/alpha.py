"""Transparency of the results: the cut-out portrait's, going with the heads that move."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fye_model.animation.outline import moved_outline, settled
from tasks.animation.scene import Performance, Scene
from tasks.media.pictures import open_picture


def with_alpha(frames: Iterable[np.ndarray], portrait: Path, scene: Scene, paste_back: bool) -> Iterator[np.ndarray]:
    """The finished frames (h, w, 3) uint8 with their transparency, (h, w, 4): squares, or, pasted back, whole pictures.

    A head whose motion is not known leaves the transparency as it is.
    """
    with open_picture(portrait) as image:
        alpha = ImageOps.exif_transpose(image).convert("RGBA").getchannel("A")
    whole = np.asarray(alpha.resize(scene.subject.picture.size, Image.Resampling.LANCZOS))
    squares = [_square(_grey(whole), one)[..., 0] for one in scene.performances]
    for index, frame in enumerate(frames):
        result = _grey(whole)
        for still, one in zip(squares, scene.performances, strict=True):
            now = still
            if one.motion.head is not None:
                made = _square(frame, one) if paste_back else frame
                now = settled(still, moved_outline(still, one.motion.head, index), made)
            result = one.cut.paste(result, _grey(now)) if paste_back else _grey(now)
        yield np.dstack([frame, result[..., 0]])


def _grey(alpha: np.ndarray) -> np.ndarray:
    return np.repeat(alpha[..., None], 3, axis=2)


def _square(picture: np.ndarray, performance: Performance) -> np.ndarray:
    """What of a picture (h, w, 3) lies in a face's square, at the model's size."""
    return np.asarray(performance.cut.picture(Image.fromarray(picture), performance.landmarks.height))
