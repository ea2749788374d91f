"""Cross reenactment: what another face has to share with its driver, and what it must not be asked for.

The truth is the driver itself. Another identity has other pixels, other features and another place in its picture, so
pictures are not compared, expressions are compared as *changes* (each clip's own mean taken out), and points after the
result's face has been laid onto the driver's by one shift and one scale for the whole clip.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from PIL import Image

from fye_model.evaluation import arcface, identity, measures
from fye_model.evaluation.compare import Comparison
from fye_model.evaluation.metric import Metric, mean_of_clips, rate
from fye_model.evaluation.metrics import AP_THRESHOLDS, NO_FACE_ERROR, landmark_precision
from fye_model.evaluation.table import BY_NAME, METRICS

Task = Literal["self", "cross"]
# Of the table's metrics, those that mean the same for another identity.
_SAME_FOR_ALL = ("correlation", "slope")
_CELLS = 8  # a head that turns stays mostly inside its cells


def _change_error(comparison: Comparison) -> np.ndarray:
    """Mean over the expression's signals of the difference of their changes on every frame, in IOD."""
    errors = []
    for name in measures.WHOLE_EXPRESSION:
        truth, result = comparison.truth.signals[name], comparison.signals[name]
        both = np.isfinite(truth) & np.isfinite(result)
        offset = (result[both].mean() - truth[both].mean()) if both.any() else 0.0
        errors.append(np.where(comparison.lost, NO_FACE_ERROR, np.abs(result - truth - offset)))
    return np.asarray(np.mean(errors, axis=0))


def _placed_precision(comparison: Comparison) -> np.ndarray:
    """Landmark accuracy on every frame, the result's face shifted and scaled onto the driver's once for the clip."""
    both = comparison.comparable & comparison.faces.found
    values = np.full(len(comparison), math.nan)
    if both.any():
        height, width = comparison.size
        ours, theirs = comparison.faces.points[..., :2], comparison.truth.faces.points[..., :2]
        placed = _placed(ours[both], theirs[both])
        for frame, points in zip(np.flatnonzero(both), placed, strict=True):
            values[frame] = landmark_precision(points, theirs[frame], height, width)
    return np.where(comparison.lost, 0.0, values)


def _placed(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Points (f, n, 2) moved by the one shift and scale that bring them nearest to others of the same shape."""
    centre, target = ours.mean(axis=(0, 1)), theirs.mean(axis=(0, 1))
    spread = np.square(ours - centre).sum()
    scale = ((ours - centre) * (theirs - target)).sum() / spread if spread > 0 else 1.0
    return np.asarray((ours - centre) * scale + target)


def _moved(comparison: Comparison) -> np.ndarray:
    """How differently the heads move across the picture on every frame, in cm, each clip's mean place taken out."""
    offset = comparison.faces.matrix[:, :2, 3] - comparison.truth.faces.matrix[:, :2, 3]
    both = comparison.comparable & comparison.faces.found
    if both.any():
        offset = offset - offset[both].mean(axis=0)
    return np.where(comparison.lost, measures.NO_FACE_CM, np.linalg.norm(offset, axis=1))


def _coarse(pictures: np.ndarray) -> np.ndarray:
    """Mean colours of a coarse grid: (f, h, w, 3) uint8 -> (f, cells, cells, 3) on the scale 0 to 1."""
    small = [Image.fromarray(picture).resize((_CELLS, _CELLS), Image.Resampling.BOX) for picture in pictures]
    return np.stack([np.asarray(picture) for picture in small]) / 255


def _away_from_the_portrait(comparison: Comparison) -> np.ndarray:
    """Mean difference of the coarse colours of result and portrait on every frame; NaN without a portrait."""
    if comparison.portrait is None:
        return np.full(len(comparison), math.nan)
    difference = np.abs(_coarse(comparison.result) - _coarse(comparison.portrait[None]))
    return np.asarray(difference.mean(axis=(1, 2, 3)))


def _failures(comparison: Comparison) -> np.ndarray:
    """Frames whose result has no face, and frames whose truth has one: (2,)."""
    return np.array([float(comparison.lost.sum()), float(comparison.comparable.sum())])


FAILURES = Metric(
    *("failure_rate", "Frames without a face", "", "lower", "landmarks", "points"),
    _failures,
    rate,
    "share of the frames in whose result the landmark model finds no face, of those whose truth has one",
    failures="they are what is counted",
    why_not="no frame of the truth has a face",
    about="failure_rate",
)

AWAY = Metric(
    *("portrait_away", "Coarse colours away from the portrait (L1)", "", "lower", "picture", "pictures"),
    *(None, mean_of_clips),
    f"mean absolute difference of result and portrait, both averaged to {_CELLS} x {_CELLS} cells, on the scale 0 to "
    "1; sees another picture in the portrait's place, is no measure of identity, and the portrait repeated has 0",
    failures="every frame counts",
    why_not="the portrait was not given",
    frames=_away_from_the_portrait,
    about="portrait_away",
)
_OF_THE_PORTRAIT = tuple(
    replace(
        BY_NAME[name],
        text=BY_NAME[name].text.replace("the truth", "the portrait").replace("and truth", "and portrait"),
        why_not="the landmark model finds no face in the portrait, or none in the driver",
        frames=frames,
    )
    for name, frames in (
        ("identity", identity.to_portrait),
        ("arcface", arcface.to_portrait("arcface")),
        ("arcface_r100", arcface.to_portrait("arcface_r100")),
    )
)
_AGAINST_THE_DRIVER: tuple[Metric, ...] = (
    Metric(
        *("landmark_ap_placed", "Landmark accuracy (AP), face placed on the driver's", "", "higher", "landmarks"),
        *("points", None, mean_of_clips),
        f"share of points within {AP_THRESHOLDS[0]:g} to {AP_THRESHOLDS[-1]:g} IOD of the driver's, mean over "
        f"{len(AP_THRESHOLDS)} equal steps, after one shift and one scale for the whole clip",
        failures="a result without a face counts as 0",
        frames=_placed_precision,
        about="landmark_ap_placed",
    ),
    Metric(
        *("expression_change_error", "Expression error, as change", "IOD", "lower", "expression"),
        *("signals", None, mean_of_clips),
        f"mean error of {len(measures.WHOLE_EXPRESSION)} signals, the difference of the two clips' means taken out of "
        f"each: {', '.join(measures.WHOLE_EXPRESSION)}",
        failures=f"a result without a face counts as {NO_FACE_ERROR:g} IOD",
        frames=_change_error,
        about="expression_change_error",
        decides=True,
    ),
)
_MOVED = Metric(
    *("apd_translation_change", "Head motion across the picture (APD)", "cm", "lower", "pose", "pose"),
    *(None, mean_of_clips),
    "difference of the heads' places across the picture, the mean difference of the clip taken out, depth left out, in "
    "centimetres of the canonical face",
    failures=f"a result without a face counts as {measures.NO_FACE_CM:g} cm",
    frames=_moved,
    about="apd_translation_change",
)


def _of_the_driver(metric: Metric) -> Metric:
    """A metric of the table, in whose words the driver stands for the truth."""
    return replace(metric, text=metric.text.replace("the truth", "the driver").replace("of truth", "of driver"))


SELF_METRICS: tuple[Metric, ...] = (*METRICS, FAILURES)
CROSS_METRICS: tuple[Metric, ...] = (
    AWAY,
    *_OF_THE_PORTRAIT,
    BY_NAME["brisque"],
    BY_NAME["hyperiqa"],
    *_AGAINST_THE_DRIVER,
    _of_the_driver(BY_NAME["expression_correlation"]),
    *(
        _of_the_driver(m)
        for m in METRICS
        if m.question == "expression" and m.name.endswith(_SAME_FOR_ALL) and m.name != "expression_correlation"
    ),
    *(_of_the_driver(m) for m in METRICS if m.name.startswith(("blinks.", "dynamics."))),
    _of_the_driver(BY_NAME["aed"]),
    _of_the_driver(BY_NAME["apd_rotation"]),
    _MOVED,
    *(_of_the_driver(m) for m in METRICS if m.question == "pose" and m.name.endswith(_SAME_FOR_ALL)),
    FAILURES,
)
METRICS_OF: dict[Task, tuple[Metric, ...]] = {"self": SELF_METRICS, "cross": CROSS_METRICS}
