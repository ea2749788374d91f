"""Image and landmark metrics of a reenactment, frame by frame, and what each number was measured on.

Every metric works on one frame at a time in float64, so its digits do not depend on batch sizes or on the number of
workers. A frame in which the landmark model finds no face is counted and enters the mean with a declared error; it is
never left out, because leaving it out would reward a result that no longer looks like a face.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d

from fye_model.landmarks.topology import interocular_distance

# Error, in IOD, of a frame whose result has no face. A frozen or wrong face is typically below 0.5.
NO_FACE_ERROR = 1.0

# Metrics of the paper's protocol that need networks whose weights this project neither ships nor downloads.
MISSING_METRICS = {
    "lpips": "needs the LPIPS weights (AlexNet or VGG backbone and its linear layers), which are not on this machine",
    "fvd": "needs the I3D weights (Kinetics-400), which are not on this machine",
    "arcface": "needs ArcFace weights (an InsightFace pack, non-commercial), which are not on this machine; "
    "measures cross reenactment",
    "hyperiqa": "needs the HyperIQA weights (KonIQ-10k), which are not on this machine; measures cross reenactment",
}
MISSING_NOTE = "Nothing is downloaded to fill these in, and no other network stands in for them."

_SSIM_SIGMA = 1.5
_SSIM_RADIUS = 5  # 11 taps


@dataclass(frozen=True)
class FrameScores:
    """Scores of one reenacted clip. Arrays have one entry a frame.

    landmark_error: mean point distance over the truth's IOD; NaN where either picture has no face.
    result_has_face, truth_has_face: where the landmark model found one.
    size: (height, width) in pixels of the pictures that were compared.
    """

    l1: np.ndarray
    psnr: np.ndarray
    ssim: np.ndarray
    landmark_error: np.ndarray
    result_has_face: np.ndarray
    truth_has_face: np.ndarray
    size: tuple[int, int]

    @property
    def frames(self) -> int:
        return len(self.l1)

    def summary(self) -> dict[str, float]:
        """Means over the clip's frames, and the counts that belong to them.

        `landmark_error` counts a frame without a face in the result as `NO_FACE_ERROR`; `landmark_error_found` is the
        mean over the frames where both faces were found. Frames whose truth has no face cannot be compared: they are
        in neither mean, and counted. NaN when nothing could be compared.
        """
        comparable = self.truth_has_face
        counted = np.where(self.result_has_face, self.landmark_error, NO_FACE_ERROR)[comparable]
        found = self.landmark_error[comparable & self.result_has_face]
        return {
            "frames": self.frames,
            "l1": float(self.l1.mean()),
            "psnr": float(self.psnr.mean()),
            "ssim": float(self.ssim.mean()),
            "landmark_error": float(counted.mean()) if counted.size else math.nan,
            "landmark_error_found": float(found.mean()) if found.size else math.nan,
            "no_face_in_result": int((comparable & ~self.result_has_face).sum()),
            "no_face_in_truth": int((~comparable).sum()),
        }


def l1_error(result: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference of two pictures (h, w, 3) uint8, on the scale 0 to 1."""
    first, second = _pair(result, truth)
    return float(np.abs(first - second).mean())


def psnr(result: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two pictures (h, w, 3) uint8; infinite for equal pictures."""
    first, second = _pair(result, truth)
    mse = float(np.square(first - second).mean())
    return math.inf if mse == 0 else -10 * math.log10(mse)


def ssim(result: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004) of two pictures (h, w, 3) uint8: mean over colours and inner pixels.

    Gaussian window of sigma 1.5 and 11 taps, population covariance, K1 = 0.01, K2 = 0.03; the 5 pixels at each border,
    where the window leaves the picture, are left out.
    """
    first, second = _pair(result, truth)
    if min(first.shape[:2]) < 2 * _SSIM_RADIUS + 1:
        raise ValueError(f"SSIM needs pictures of at least 11x11 pixels, got {first.shape[1]}x{first.shape[0]}")
    mean1, mean2 = _blur(first), _blur(second)
    variance1 = _blur(first * first) - mean1 * mean1
    variance2 = _blur(second * second) - mean2 * mean2
    covariance = _blur(first * second) - mean1 * mean2
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean1 * mean2 + c1) * (2 * covariance + c2)) / (
        (mean1 * mean1 + mean2 * mean2 + c1) * (variance1 + variance2 + c2)
    )
    return float(similarity.mean())


def landmark_error(result: np.ndarray, truth: np.ndarray, height: int, width: int) -> float:
    """Mean distance of corresponding points over the truth's interocular distance.

    result, truth: (478, 2 or more), x and y as fractions of a picture of `height` x `width` pixels.
    """
    scale = np.array([width, height], np.float64)
    first, second = result[:, :2] * scale, truth[:, :2] * scale
    iod = float(interocular_distance(second))
    if iod <= 0:
        raise ValueError("the truth's eye corners coincide: these are no landmarks of a face")
    return float(np.linalg.norm(first - second, axis=1).mean()) / iod


def score_frames(
    result: np.ndarray,
    truth: np.ndarray,
    result_points: Sequence[np.ndarray | None],
    truth_points: Sequence[np.ndarray | None],
) -> FrameScores:
    """Score result against truth, both (f, h, w, 3) uint8 of the same shape.

    result_points, truth_points: per frame the landmarks (478, >= 2) detected in it as fractions, None for no face.
    """
    if result.shape != truth.shape or result.ndim != 4 or len(result) == 0:
        raise ValueError(f"expected two equal stacks of frames (f, h, w, 3), got {result.shape} and {truth.shape}")
    if not len(result) == len(result_points) == len(truth_points):
        raise ValueError(
            f"{len(result)} frames need as many landmark entries, got {len(result_points)} and {len(truth_points)}"
        )
    height, width = result.shape[1:3]
    errors = [
        math.nan if ours is None or theirs is None else landmark_error(ours, theirs, height, width)
        for ours, theirs in zip(result_points, truth_points, strict=True)
    ]
    pairs = list(zip(result, truth, strict=True))
    return FrameScores(
        l1=np.array([l1_error(a, b) for a, b in pairs]),
        psnr=np.array([psnr(a, b) for a, b in pairs]),
        ssim=np.array([ssim(a, b) for a, b in pairs]),
        landmark_error=np.array(errors),
        result_has_face=np.array([points is not None for points in result_points]),
        truth_has_face=np.array([points is not None for points in truth_points]),
        size=(height, width),
    )


def _pair(result: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if result.dtype != np.uint8 or truth.dtype != np.uint8:
        raise ValueError(f"pictures must be uint8, got {result.dtype} and {truth.dtype}")
    if result.shape != truth.shape:
        raise ValueError(f"pictures differ in shape: {result.shape} and {truth.shape}")
    return result.astype(np.float64) / 255, truth.astype(np.float64) / 255


def _blur(picture: np.ndarray) -> np.ndarray:
    """Gaussian mean around every pixel whose window lies inside: (h, w, c) -> (h - 10, w - 10, c)."""
    taps = np.exp(-0.5 * (np.arange(-_SSIM_RADIUS, _SSIM_RADIUS + 1) / _SSIM_SIGMA) ** 2)
    taps /= taps.sum()
    rows = correlate1d(picture, taps, axis=0)[_SSIM_RADIUS:-_SSIM_RADIUS]
    return correlate1d(rows, taps, axis=1)[:, _SSIM_RADIUS:-_SSIM_RADIUS]
