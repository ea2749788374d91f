"""Cross reenactment of held-out clips: who drives whom, what is drawn, and how the result is scored.

Nobody knows what the reference would have looked like, so the driver is what a result is held against, by the metrics
of `fye_model/evaluation/cross.py`. The motion is laid onto the reference's face as `fye animate` does it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fye_model.animation.driving import hold_missing
from fye_model.config import EvaluationConfig, SamplingConfig
from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.cross import CROSS_METRICS
from fye_model.evaluation.reenact import Reenactment, reenact
from fye_model.evaluation.scores import ClipScores, score
from fye_model.evaluation.windows import Motion, motion
from fye_model.landmarks.alignment import align_motion
from fye_model.landmarks.drawing import ALIGNED, Variant, draw_landmarks, landmark_points
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.smoothing import smooth_sequence
from fye_model.landmarks.table import LandmarkSequence, read_landmarks
from tasks.faces.detector import FaceLandmarker
from tasks.results.reenactment import Entry, HeldOut, HeldOutClip, detect_faces, load_clip


@dataclass(frozen=True)
class CrossPair:
    """One clip's reference performs the held-out frames of a clip of somebody else."""

    portrait: Entry
    driver: Entry

    @property
    def id(self) -> str:
        """Both clips' ids."""
        return f"{self.portrait.clip}--{self.driver.clip}"

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.portrait.name} performs {self.driver.name}"


@dataclass(frozen=True)
class CrossClip:
    """A pair's pictures, uint8 RGB of one size: portrait (h, w, 3); driving and landmarks (f, h, w, 3).

    span: [start, stop) of the driver's frames taken; reference: frame number of the portrait in its clip. aligned: the
    motion was laid onto the portrait's face. not_driven: frames whose landmarks are missing and repeat a neighbour's.
    """

    pair: CrossPair
    portrait: np.ndarray
    driving: np.ndarray
    landmarks: np.ndarray
    span: tuple[int, int]
    reference: int
    aligned: bool
    not_driven: int


@dataclass(frozen=True)
class ScoredCross:
    """A pair's reenactment with the scores of the model and of the portrait repeated, at the evaluated size."""

    reenactment: Reenactment
    model: ClipScores
    baseline: ClipScores
    motion: Motion


def cross_pairs(held_out: HeldOut, portraits: Sequence[Entry], count: int | None) -> list[CrossPair]:
    """Who performs whom: every portrait as often as the others, every other person's clip as often as it can be.

    portraits: clips that are evaluated. count: None: one pair a portrait; fewer where there are not so many. The same
    clips give the same pairs.
    """
    wanted = len(portraits) if count is None else count
    used: Counter[str] = Counter()
    pairs: list[CrossPair] = []
    taken: set[str] = set()
    while True:
        before = len(pairs)
        for portrait in portraits:
            others = [CrossPair(portrait, other) for other in held_out.clips if other.subject != portrait.subject]
            free = [pair for pair in others if pair.id not in taken]
            if not free or len(pairs) >= wanted:
                continue
            pair = min(free, key=lambda pair: used[pair.driver.clip])
            used[pair.driver.clip] += 1
            taken.add(pair.id)
            pairs.append(pair)
        if len(pairs) == before:
            return pairs


def why_none(held_out: HeldOut, count: int | None) -> str:
    """Why there is no cross reenactment here, and what would bring one."""
    if count == 0:
        return "left out: evaluation.cross_pairs is 0"
    (subject,) = {entry.subject for entry in held_out.clips}
    return (
        f"left out: only one person ({subject}) is held out, and cross reenactment needs another one to drive; "
        "evaluate on videos of two or more people, each in a folder of their own"
    )


def load_cross(
    held_out: HeldOut,
    pair: CrossPair,
    max_frames: int,
    variant: Variant,
    config: EvaluationConfig,
    sampling: SamplingConfig,
) -> CrossClip:
    """Decode both, and draw the driver's motion on the portrait's face. Raises ValueError as `load_clip` does."""
    mine = load_clip(held_out, pair.portrait, max_frames, variant, config)  # its reference hangs on how many it drives
    theirs = load_clip(held_out, pair.driver, max_frames, variant, config)
    reference = read_landmarks(pair.portrait.landmarks).select(slice(mine.reference, mine.reference + 1))
    driver = read_landmarks(pair.driver.landmarks).select(_driven(theirs))
    points = _points(driver, reference, held_out.geometry, variant, sampling)
    return CrossClip(
        pair=pair,
        portrait=mine.frames[0],
        driving=theirs.frames[1:],
        landmarks=draw_landmarks(points, held_out.size, held_out.size, variant),
        span=theirs.span,
        reference=mine.reference,
        aligned=_can_align(driver, reference, variant),
        not_driven=int((~driver.valid).sum()),
    )


def score_cross(
    pipeline: Callable[..., Any],
    clip: CrossClip,
    landmarker: FaceLandmarker,
    sampling: SamplingConfig,
    size: int,
    geometry: FaceGeometry,
) -> ScoredCross:
    """Reenact a pair, and score the result and the repeated portrait against driver and portrait at `size`."""
    pair = reenact(pipeline, clip.portrait, clip.landmarks, clip.driving, sampling).resized(size)
    truth = Truth(pair.truth, detect_faces(landmarker, pair.truth, geometry))
    portrait = detect_faces(landmarker, pair.reference[None], geometry)
    faces = detect_faces(landmarker, pair.result, geometry)
    still = portrait.repeated(len(pair.truth))
    return ScoredCross(
        reenactment=pair,
        model=score(Comparison(truth, pair.result, faces, pair.reference, portrait), CROSS_METRICS),
        baseline=score(Comparison(truth, pair.baseline(), still, pair.reference, portrait), CROSS_METRICS),
        motion=motion(truth.signals),
    )


def _driven(clip: HeldOutClip) -> np.ndarray:
    """Frame numbers of the frames that drive: those of the span, without a reference among them."""
    frames = np.arange(*clip.span)
    return frames[frames != clip.reference]


def _points(
    driver: LandmarkSequence,
    reference: LandmarkSequence,
    geometry: FaceGeometry,
    variant: Variant,
    sampling: SamplingConfig,
) -> np.ndarray:
    """The driver's motion on the reference's face (f, 478, 2) in pixels, or as it is where it cannot be laid there.

    Both are square clips cut by one rule, so that unaligned landmarks lie where a face would. NaN where the driver has
    no face at all.
    """
    if not driver.valid.any():
        return landmark_points(driver, variant, geometry)
    smooth = smooth_sequence(driver, sampling.smoothing)
    aligned = _can_align(driver, reference, variant)
    points = align_motion(smooth, reference, geometry) if aligned else landmark_points(smooth, variant, geometry)
    return hold_missing(points)[0]


def _can_align(driver: LandmarkSequence, reference: LandmarkSequence, variant: Variant) -> bool:
    return bool(reference.valid[0] and driver.valid.any()) and variant in ALIGNED
