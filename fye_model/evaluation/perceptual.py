"""What networks think of the pictures: LPIPS, its change over time (tLP), and HyperIQA. Weights: `weights.py`.

LPIPS is of the whole picture as it is compared, 256 pixels in the paper's protocol, by AlexNet (the usual one in tables
of this field) and by VGG16. tLP (Chu et al. 2020) is |LPIPS(g_t, g_t-1) - LPIPS(x_t, x_t-1)| times 1000, by AlexNet: a
result that flickers, or that does not move, changes otherwise than the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fye_model.evaluation.compare import Comparison
from fye_model.evaluation.identity import looked_at
from fye_model.evaluation.weights import lacking, weight_file

if TYPE_CHECKING:
    from fye_model.evaluation.graphs.hyperiqa import HyperIqa
    from fye_model.evaluation.graphs.lpips import Kind, Lpips


def lpips_lacks(kind: Kind) -> str | None:
    """Why LPIPS cannot be measured here; None where it can."""
    return lacking(f"lpips_{kind}", f"lpips_{kind}_linear")


def hyperiqa_lacks() -> str | None:
    """Why HyperIQA cannot be measured here; None where it can."""
    return lacking("hyperiqa")


def lpips_frames(kind: Kind) -> Callable[[Comparison], np.ndarray]:
    """LPIPS of result and truth on every frame, (f,); NaN without the weights."""

    def frames(comparison: Comparison) -> np.ndarray:
        if lpips_lacks(kind):
            return np.full(len(comparison), math.nan)
        return _distances(kind, comparison.result, comparison.truth.frames)

    return frames


def tlp_frames(comparison: Comparison) -> np.ndarray:
    """tLP of every frame and the one before, (f,); NaN on the first frame and without the weights."""
    values = np.full(len(comparison), math.nan)
    if len(comparison) > 1 and not lpips_lacks("alexnet"):
        ours, theirs = (_distances("alexnet", of[1:], of[:-1]) for of in (comparison.result, comparison.truth.frames))
        values[1:] = 1000 * np.abs(ours - theirs)
    return values


def hyperiqa_frames(comparison: Comparison) -> np.ndarray:
    """HyperIQA of the result on at most `MOST_FRAMES` frames, evenly spread: (f,); NaN elsewhere, and without it."""
    values = np.full(len(comparison), math.nan)
    if hyperiqa_lacks() is None:
        path = weight_file("hyperiqa")
        for frame in np.flatnonzero(looked_at(np.ones(len(comparison), bool))):
            values[frame] = _quality(path, comparison.result[frame].tobytes(), comparison.size)
    return values


def _distances(kind: Kind, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    from fye_model.evaluation.graphs.lpips import distances

    network = _lpips(kind, weight_file(f"lpips_{kind}"), weight_file(f"lpips_{kind}_linear"))
    return distances(network, first, second)


@cache
def _lpips(kind: Kind, backbone: Path, linear: Path) -> Lpips:
    from fye_model.evaluation.graphs.lpips import read_lpips

    return read_lpips(kind, backbone, linear)


@lru_cache(maxsize=4)  # the repeated reference is one picture
def _quality(path: Path, picture: bytes, size: tuple[int, int]) -> float:
    from fye_model.evaluation.graphs.hyperiqa import quality

    return quality(_hyperiqa(path), np.frombuffer(picture, np.uint8).reshape(*size, 3))


@cache
def _hyperiqa(path: Path) -> HyperIqa:
    from fye_model.evaluation.graphs.hyperiqa import read_hyperiqa

    return read_hyperiqa(path)
