"""The 52 blendshapes of MediaPipe's face landmarker, by name and in its order.

Left and right are the subject's. `cheekPuff`, `cheekSquint*` and `noseSneer*` stay near 0 whatever the face does: the
model was not trained to give them (seen on real clips with puffed cheeks).
"""

from __future__ import annotations

import numpy as np

NAMES = (
    *("_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff"),
    *("cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight"),
    *("eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight"),
    *("eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen"),
    *("jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight"),
    *("mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight"),
    *("mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *("mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft"),
    *("mouthUpperUpRight", "noseSneerLeft", "noseSneerRight"),
)
_INDEX = {name: number for number, name in enumerate(NAMES)}


def shape(shapes: np.ndarray, name: str) -> np.ndarray:
    """One blendshape of many frames, by name: (f, 52) -> (f,). KeyError for a name that does not exist."""
    column: np.ndarray = shapes[:, _INDEX[name]]
    return column


def both(shapes: np.ndarray, name: str) -> np.ndarray:
    """The lesser of a blendshape's two sides, `name` without its Left or Right: (f, 52) -> (f,)."""
    lesser: np.ndarray = np.minimum(shape(shapes, f"{name}Left"), shape(shapes, f"{name}Right"))
    return lesser


def gaze_direction(shapes: np.ndarray) -> np.ndarray:
    """Where the eyes look: (f, 52) -> (f, 2) from -1 to 1, x to the subject's left, y up; crossed eyes cancel."""
    x = shape(shapes, "eyeLookOutLeft") + shape(shapes, "eyeLookInRight")
    x = x - shape(shapes, "eyeLookInLeft") - shape(shapes, "eyeLookOutRight")
    y = shape(shapes, "eyeLookUpLeft") + shape(shapes, "eyeLookUpRight")
    y = y - shape(shapes, "eyeLookDownLeft") - shape(shapes, "eyeLookDownRight")
    return np.stack([x / 2, y / 2], axis=1)
