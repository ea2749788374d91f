"""The one table of metrics: scoring, pooling, tables, selection, report and protocol text are all made from it.

A new metric is a row here, and a function in `measures.py` if none of those there fits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from fye_model.evaluation import arcface, dynamics, identity, measures, perceptual, quality, video_distance
from fye_model.evaluation.agreement import correlation, mean_correlation, slope
from fye_model.evaluation.appearance import Region
from fye_model.evaluation.blinks import CLOSED_SHARE, TOLERANCE_FRAMES
from fye_model.evaluation.compare import FRONT_DEG, TURNED_DEG
from fye_model.evaluation.invented import NO_FACE_INVENTED, invented
from fye_model.evaluation.metric import Metric, Question, Reads, mean_of_clips, no_sum, nothing, rate
from fye_model.evaluation.metrics import (
    AP_THRESHOLDS,
    NO_FACE_ERROR,
    landmark_error,
    landmark_precision,
)
from fye_model.evaluation.signals import EXPRESSION, POSE, Signal

_NO_FACE = f"a result without a face counts as {NO_FACE_ERROR:g} IOD"
_AT_REST = "a result without a face counts as one that does not move"
_STILL = "the truth does not move, or none of its frames has a face"
_NO_TRUTH = "no frame of the truth has a face"


def _mean(
    name: str,
    label: str,
    unit: str,
    better: Literal["lower", "higher"],
    question: Question,
    reads: Reads,
    frames: measures.Frames,
    text: str,
    *,
    failures: str = "every frame counts",
    why_not: str = _NO_TRUTH,
    about: str = "",
    decides: bool = False,
    lacks: Callable[[], str | None] = nothing,
) -> Metric:
    """A metric that is a mean over a clip's frames, then over clips."""
    return Metric(
        *(name, label, unit, better, question, reads, None, mean_of_clips, text, failures, why_not, frames),
        about=about or name,
        decides=decides,
        lacks=lacks,
    )


def _in_masks() -> list[Metric]:
    """L1, PSNR and SSIM inside the truth's masks."""
    kinds = (("l1", "L1", ""), ("psnr", "PSNR", "dB"), ("ssim", "SSIM", ""))
    where = {
        "expression": "around brows, eyes, lips and pupils of the truth",
        "face": "inside the truth's face oval",
        "rest": "outside both",
    }
    return [
        _mean(
            f"{name}_{mask}",
            f"{label}, {mask}",
            unit,
            "lower" if name == "l1" else "higher",
            "picture",
            "masks",
            measures.of_pictures(f"{name}_{mask}"),
            f"as {name}, {place}",
            failures="frames whose truth has no face have no masks and are left out",
            about=f"<picture metric>_{mask}",
        )
        for mask, place in where.items()
        for name, label, unit in kinds
    ]


def _followed(signal: Signal, group: Question) -> list[Metric]:
    """How a result follows one signal of the truth: correlation and slope, pooled over clips."""
    measure = measures.signal_sums(signal.name)
    shared = (measure, correlation), (measure, slope)
    return [
        Metric(
            f"{group}.{signal.name}.{kind}",
            f"{signal.label}, {kind}",
            "" if kind == "correlation" else f"{signal.unit} per {signal.unit}",
            better,
            group,
            "signals" if group == "expression" else "pose",
            *functions,
            text,
            _AT_REST,
            _STILL,
            about=f"{group}.<signal>.{kind}",
        )
        for (kind, better, text), functions in zip(_KINDS, shared, strict=True)
    ]


_KINDS: tuple[tuple[str, Literal["higher", "one"], str], ...] = (
    ("correlation", "higher", "Pearson's r of truth and result over all frames, each clip's mean removed"),
    ("slope", "one", "how much the result moves for each unit that the truth moves, each clip's mean removed"),
)


def _expression(signal: Signal) -> list[Metric]:
    error = _mean(
        f"expression.{signal.name}.error",
        f"{signal.label}, error",
        signal.unit,
        "lower",
        "expression",
        "signals",
        measures.signal_error(signal.name),
        "mean absolute difference, head pose taken out, in interocular distances of each face's own",
        failures=_NO_FACE,
        about="expression.<signal>.error",
    )
    return [*_followed(signal, "expression"), error]


def _blinks() -> list[Metric]:
    counted = f"a blink is an eye opening below {CLOSED_SHARE:g} of the clip's own open eye"
    rows: tuple[tuple[str, str, str, Literal["lower", "higher"], tuple[str, str], str, str], ...] = (
        ("recall", "Blinks found", "", "higher", ("matched", "truth"), "the truth does not blink", "of the truth's"),
        ("precision", "Blinks right", "", "higher", ("matched", "result"), "the result does not blink", "of its own"),
        (
            *("timing", "Blinks late or early", "frames", "lower", ("offset_frames", "matched")),
            *("no blink was found", "mean distance in frames of those found"),
        ),
    )
    return [
        Metric(
            f"blinks.{name}",
            label,
            unit,
            better,
            "expression",
            "signals",
            measures.blink_counts(*parts),
            rate,
            f"{counted}; {text}" + ("" if unit else f", at most {TOLERANCE_FRAMES} frames apart"),
            "a frame without a face is no blink",
            why_not,
            about=f"blinks.{name}",
        )
        for name, label, unit, better, parts, why_not, text in rows
    ]


def _dynamics() -> list[Metric]:
    """THEval's measures of how much lips and brows move, as nearness to the truth's."""
    rows = (
        ("lips", "Lip dynamics (THEval)", dynamics.lip_dynamics, "distances between lip points vary over time"),
        ("brows", "Brow dynamics (THEval)", dynamics.brow_dynamics, "brows move over the eyes from frame to frame"),
    )
    return [
        Metric(
            *(f"dynamics.{name}", label, "", "higher", "expression", "points"),
            *(dynamics.movements(measure), dynamics.nearness),
            f"1 - |result - truth| / truth of how much {text}, means over clips; not whether as the truth does",
            _AT_REST,
            _STILL,
            about=f"dynamics.{name}",
        )
        for name, label, measure, text in rows
    ]


def _by_networks() -> list[Metric]:
    """The paper's metrics that need weights, and their kin."""
    lpips = "distance of deep features of result and truth, version 0.1, by"
    arc = "cosine of ArcFace embeddings of result and truth"
    return [
        _mean(
            *("lpips", "LPIPS (AlexNet)", "", "lower", "picture", "networks", perceptual.lpips_frames("alexnet")),
            f"{lpips} AlexNet",
            lacks=partial(perceptual.lpips_lacks, "alexnet"),
        ),
        _mean(
            *("lpips_vgg", "LPIPS (VGG16)", "", "lower", "picture", "networks", perceptual.lpips_frames("vgg16")),
            f"{lpips} VGG16",
            lacks=partial(perceptual.lpips_lacks, "vgg16"),
        ),
        _mean(
            *("tlp", "tLP", "1e-3", "lower", "picture", "networks", perceptual.tlp_frames),
            "how differently result and truth change from frame to frame, in LPIPS (AlexNet) times 1000",
            failures="every frame but the first counts",
            why_not="no clip has two frames",
            lacks=partial(perceptual.lpips_lacks, "alexnet"),
        ),
        Metric(
            *("fvd", "FVD", "", "lower", "picture", "networks", video_distance.clip_logits, no_sum),
            "Fréchet distance of the clips' I3D logits (Kinetics-400, 224 pixels) from the truth's; no interval, and "
            "only to be compared on the same clips",
            failures=f"clips of fewer than {video_distance.FEWEST_FRAMES} frames, or not square, are left out",
            why_not=f"fewer than two square clips of {video_distance.FEWEST_FRAMES} frames",
            about="fvd",
            lacks=video_distance.lacks,
            of_set=video_distance.fvd,
        ),
        *(
            _mean(
                *(name, f"ArcFace cosine ({depth})", "", "higher", "identity", "networks", arcface.to_truth(name)),
                f"{arc}, {depth} of the pack {pack}, on at most {identity.MOST_FRAMES} frames of a clip",
                failures=f"a result without a face counts as {arcface.NO_FACE_COSINE:g}",
                lacks=partial(arcface.lacks, name),
            )
            for name, depth, pack in _ARCFACES
        ),
        _mean(
            *("hyperiqa", "HyperIQA", "", "higher", "picture", "networks", perceptual.hyperiqa_frames),
            "quality of the result alone (KonIQ-10k, about 0 to 100), mean over nine fixed patches, on at most "
            f"{identity.MOST_FRAMES} frames of a clip; knows no truth",
            why_not="nothing was compared",
            lacks=perceptual.hyperiqa_lacks,
        ),
    ]


_ARCFACES: tuple[tuple[arcface.Model, str, str], ...] = (
    ("arcface", "IResNet50", "buffalo_l"),
    ("arcface_r100", "IResNet100", "antelopev2"),
)


def _invented() -> list[Metric]:
    """What comes or goes on the result's face when the head turns."""
    where: tuple[tuple[Region, str, str], ...] = (
        ("eyes", "around the eyes", "glasses"),
        ("mouth", "at the mouth", "teeth"),
    )
    return [
        _mean(
            f"invented.{region}",
            f"Invented {place}",
            "grey levels",
            "lower",
            "picture",
            "points",
            invented(region),
            f"how much more than the truth the face {place} ({thing}, say) changes from frames within {FRONT_DEG:g} to "
            f"frames beyond {TURNED_DEG:g} degrees of yaw; grey levels from 0 to 1, lighting taken out",
            failures=f"a turned frame whose result has no face counts as {NO_FACE_INVENTED:g}",
            why_not=f"no clip shows the head both within {FRONT_DEG:g} and beyond {TURNED_DEG:g} degrees of yaw",
            about=f"invented.{region}",
        )
        for region, place, thing in where
    ]


METRICS: tuple[Metric, ...] = (
    _mean(
        *("l1", "L1", "", "lower", "picture", "pictures", measures.of_pictures("l1")),
        "mean absolute difference on the scale 0 to 1",
        decides=True,
    ),
    _mean(
        *("psnr", "PSNR", "dB", "higher", "picture", "pictures", measures.of_pictures("psnr")),
        "peak signal-to-noise ratio; infinite for equal pictures",
    ),
    _mean(
        *("ssim", "SSIM", "", "higher", "picture", "pictures", measures.of_pictures("ssim")),
        "Gaussian window, sigma 1.5, 11 taps, mean over colours",
        decides=True,
    ),
    _mean(
        *("change_error", "Change from frame to frame, L1", "", "lower", "picture", "pictures", measures.change_error),
        "mean absolute difference of how result and truth change since the frame before, on the scale 0 to 1: flicker. "
        "A still picture has the truth's own change; a result above that flickers more than the truth moves",
        failures="every frame but the first counts",
        why_not="no clip has two frames",
    ),
    _mean(
        *("landmark_error", "Landmark error", "IOD", "lower", "landmarks", "points"),
        measures.of_points(landmark_error, NO_FACE_ERROR),
        "mean distance of 478 points, head pose included, over the truth's distance between the outer eye corners "
        "(points 33 and 263)",
        failures=_NO_FACE,
    ),
    _mean(
        *("landmark_error_found", "Landmark error where a face was found", "IOD", "lower", "landmarks", "points"),
        measures.of_points(landmark_error, None),
        "as landmark_error",
        failures="results without a face are left out",
        why_not="no frame has a face in both truth and result",
    ),
    _mean(
        *("landmark_ap", "Landmark accuracy (AP)", "", "higher", "landmarks", "points"),
        measures.of_points(landmark_precision, 0.0),
        f"share of points within {AP_THRESHOLDS[0]:g} to {AP_THRESHOLDS[-1]:g} IOD of the truth, mean over "
        f"{len(AP_THRESHOLDS)} equal steps",
        failures="a result without a face counts as 0",
    ),
    _mean(
        *("expression_error", "Expression error", "IOD", "lower", "expression", "signals"),
        measures.whole_expression_error,
        f"mean error of {len(measures.WHOLE_EXPRESSION)} signals: {', '.join(measures.WHOLE_EXPRESSION)}",
        failures=_NO_FACE,
        decides=True,
    ),
    Metric(
        *("expression_correlation", "Expression followed (mean correlation)", "", "higher", "expression", "signals"),
        measures.signal_sums(*measures.WHOLE_EXPRESSION),
        mean_correlation,
        "mean correlation of the same signals, those that move in the truth",
        _AT_REST,
        _STILL,
        about="expression_correlation",
        decides=True,
    ),
    *(metric for signal in EXPRESSION for metric in _expression(signal)),
    *_blinks(),
    *_dynamics(),
    _mean(
        *("aed", "Blendshapes (AED)", "", "lower", "expression", "blendshapes", measures.blendshape_error),
        "mean absolute difference of 51 blendshapes (0 to 1)",
        failures=f"a result without a face counts as {measures.NO_FACE_BLENDSHAPES:g}",
        why_not="the landmark model gives no blendshapes, or no frame of the truth has a face",
    ),
    _mean(
        *("apd_rotation", "Head rotation (APD)", "degrees", "lower", "pose", "pose", measures.rotation_error),
        "angle between the heads of truth and result",
        failures=f"a result without a face counts as {measures.NO_FACE_DEG:g} degrees",
    ),
    _mean(
        *("apd_translation", "Head place (APD)", "cm", "lower", "pose", "pose", measures.translation_error),
        "distance of the heads across the picture, depth left out, in centimetres of the canonical face",
        failures=f"a result without a face counts as {measures.NO_FACE_CM:g} cm",
    ),
    *(metric for signal in POSE for metric in _followed(signal, "pose")),
    *_in_masks(),
    _mean(
        *("brisque", "BRISQUE", "", "lower", "picture", "statistics", quality.brisque_frames),
        "naturalness of the result alone, about 0 (clean) to 100 (ruined); knows no truth",
        failures=f"every frame counts; one in which nothing varies as {quality.NO_DETAIL:g}",
        why_not="nothing was compared",
        lacks=quality.lacks,
    ),
    _mean(
        *("identity", "Identity distance", "", "lower", "identity", "embeddings", identity.to_truth),
        f"distance of dlib's face embeddings of result and truth, on at most {identity.MOST_FRAMES} frames of a clip; "
        f"one person is within {identity.SAME_PERSON:g}",
        failures=f"a result without a face counts as {identity.NO_FACE_DISTANCE:g}",
        lacks=identity.lacks,
    ),
    *_invented(),
    *_by_networks(),
)
BY_NAME: dict[str, Metric] = {metric.name: metric for metric in METRICS}
NAMES: tuple[str, ...] = tuple(BY_NAME)


def protocol_texts() -> dict[str, str]:
    """What each metric is and how failures count, by the name under which alike ones are told."""
    return {metric.about: f"{metric.text}; {metric.failures}" for metric in METRICS}
