"""Picture and landmark measures of one frame, and what each number was measured on.

Every measure works on one frame at a time in float64, so its digits do not depend on batch sizes or on the number of
workers. `table.py` says which of them are metrics, and how frames without a face count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from fye_model.landmarks.topology import interocular_distance

# Error, in IOD, of a frame whose result has no face. A frozen or wrong face is typically below 0.5.
NO_FACE_ERROR = 1.0
# Errors of a point, in IOD, up to which it counts as found: average precision is the mean over these.
AP_THRESHOLDS = tuple(step / 100 for step in range(1, 11))

MISSING_NOTE = (
    "Nothing is downloaded unasked to fill these in, and no other network stands in for them: `fye assets` says what "
    "is needed and from where."
)

_SSIM_SIGMA = 1.5
_SSIM_RADIUS = 5  # 11 taps


def l1_error(result: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference of two pictures (h, w, 3) uint8, on the scale 0 to 1."""
    first, second = _pair(result, truth)
    return float(np.abs(first - second).mean())


def psnr(result: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two pictures (h, w, 3) uint8; infinite for equal pictures."""
    first, second = _pair(result, truth)
    return _decibel(float(np.square(first - second).mean()))


def ssim(result: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004) of two pictures (h, w, 3) uint8: mean over colours and inner pixels.

    Gaussian window of sigma 1.5 and 11 taps, population covariance, K1 = 0.01, K2 = 0.03; the 5 pixels at each border,
    where the window leaves the picture, are left out.
    """
    return float(_similarity(result, truth).mean())


def picture_scores(result: np.ndarray, truth: np.ndarray, masks: Mapping[str, np.ndarray]) -> dict[str, float]:
    """L1, PSNR and SSIM of two pictures, and of their pixels inside each mask (h, w) as `l1_<mask>` and so on.

    A window of SSIM belongs to a mask by its middle pixel. NaN inside an empty mask.
    """
    first, second = _pair(result, truth)
    difference, similarity = np.abs(first - second), _similarity(result, truth)
    square = np.square(first - second)
    scores = {
        "l1": float(difference.mean()),
        "psnr": _decibel(float(square.mean())),
        "ssim": float(similarity.mean()),
    }
    for name, where in masks.items():
        inner = where[_SSIM_RADIUS:-_SSIM_RADIUS, _SSIM_RADIUS:-_SSIM_RADIUS]
        scores[f"l1_{name}"] = float(difference[where].mean()) if where.any() else math.nan
        scores[f"psnr_{name}"] = _decibel(float(square[where].mean())) if where.any() else math.nan
        scores[f"ssim_{name}"] = float(similarity[inner].mean()) if inner.any() else math.nan
    return scores


def _decibel(mse: float) -> float:
    return math.inf if mse == 0 else -10 * math.log10(mse)


def _similarity(result: np.ndarray, truth: np.ndarray) -> np.ndarray:
    first, second = _pair(result, truth)
    if min(first.shape[:2]) < 2 * _SSIM_RADIUS + 1:
        raise ValueError(f"SSIM needs pictures of at least 11x11 pixels, got {first.shape[1]}x{first.shape[0]}")
    mean1, mean2 = _blur(first), _blur(second)
    variance1 = _blur(first * first) - mean1 * mean1
    variance2 = _blur(second * second) - mean2 * mean2
    covariance = _blur(first * second) - mean1 * mean2
    c1, c2 = 0.01**2, 0.03**2
    similarity: np.ndarray = ((2 * mean1 * mean2 + c1) * (2 * covariance + c2)) / (
        (mean1 * mean1 + mean2 * mean2 + c1) * (variance1 + variance2 + c2)
    )
    return similarity


def point_distances(result: np.ndarray, truth: np.ndarray, height: int, width: int) -> tuple[np.ndarray, float]:
    """Distance of each point from its place in the truth (478,), and the truth's interocular distance, in pixels.

    result, truth: (478, 2 or more), x and y as fractions of a picture of `height` x `width` pixels.
    """
    scale = np.array([width, height], np.float64)
    first, second = result[:, :2] * scale, truth[:, :2] * scale
    iod = float(interocular_distance(second))
    if iod <= 0:
        raise ValueError("the truth's eye corners coincide: these are no landmarks of a face")
    return np.asarray(np.linalg.norm(first - second, axis=1)), iod


def landmark_error(result: np.ndarray, truth: np.ndarray, height: int, width: int) -> float:
    """Mean distance of corresponding points over the truth's interocular distance; arguments: `point_distances`."""
    distances, iod = point_distances(result, truth, height, width)
    return float(distances.mean()) / iod


def landmark_precision(result: np.ndarray, truth: np.ndarray, height: int, width: int) -> float:
    """Average precision: the fraction of points within each of `AP_THRESHOLDS` of the truth, mean over these."""
    distances, iod = point_distances(result, truth, height, width)
    return float(np.mean([(distances / iod <= threshold).mean() for threshold in AP_THRESHOLDS]))


def _pair(result: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if result.dtype != np.uint8 or truth.dtype != np.uint8:
        raise ValueError(f"pictures must be uint8, got {result.dtype} and {truth.dtype}")
    if result.shape != truth.shape:
        raise ValueError(f"pictures differ in shape: {result.shape} and {truth.shape}")
    return result.astype(np.float64) / 255, truth.astype(np.float64) / 255


def _blur(picture: np.ndarray) -> np.ndarray:
    """Gaussian mean around every pixel whose window lies inside: (h, w, c) -> (h - 10, w - 10, c)."""
    from scipy.ndimage import correlate1d  # slow to import, and a cached run needs none of it

    taps = np.exp(-0.5 * (np.arange(-_SSIM_RADIUS, _SSIM_RADIUS + 1) / _SSIM_SIGMA) ** 2)
    taps /= taps.sum()
    rows = correlate1d(picture, taps, axis=0)[_SSIM_RADIUS:-_SSIM_RADIUS]
    return np.asarray(correlate1d(rows, taps, axis=1)[:, _SSIM_RADIUS:-_SSIM_RADIUS])
