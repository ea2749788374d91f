"""Which metric sees which known damage: `python tests/benchmarks/damage.py VIDEO … --output known_damage.json`.

Takes one face a video, square and still, the frames in which most moves; damages them in known ways; scores each result
against the undamaged clip by the metrics that people read; and writes the table that reports show
(`tasks/results/known_damage.json`) and prints it for docs/metrics.md. Run it again when a formula changes. Four clips
of 64 frames at 256 pixels with 15 damages take 12 minutes of a core, half of it the face embedding.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fye_model.evaluation.aggregate import estimate, json_number
from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.extra import installed
from fye_model.evaluation.metric import Metric
from fye_model.evaluation.scores import ClipScores, score
from fye_model.evaluation.table import BY_NAME
from fye_model.evaluation.windows import moving_window
from fye_model.files import write_json
from fye_model.landmarks.geometry import FaceGeometry
from tasks.faces.detector import FaceLandmarker
from tasks.faces.landmarker import resolve_landmarker
from tasks.media.read import read_frames
from tasks.results.grids import as_markdown
from tasks.results.known_damage import LEAST, SEEN_IN, TIMES_HARMLESS, DamageTable, Row, as_grid
from tasks.results.reenactment import detect_faces
from tests.tasks.results import damage

FRAMES, SIZE_PX, READ = 64, 256, 400
GEOMETRY = FaceGeometry.mean_mesh()
COPY, HARMLESS = "copy", "JPEG of quality 85"
# What people read first, what carries the verdict, and what is for one kind of damage each.
SHOWN = (
    *("l1", "ssim", "change_error", "l1_expression", "landmark_error", "landmark_ap", "expression_error"),
    *("expression_correlation", "expression.mouth_opening.correlation", "expression.mouth_opening.slope"),
    *("expression.eye_opening_left.correlation", "expression.eye_opening_left.slope", "expression.gaze_x.correlation"),
    *("blinks.recall", "blinks.timing", "dynamics.lips", "dynamics.brows", "aed", "apd_rotation", "brisque"),
    *("identity", "invented.eyes", "invented.mouth"),
)
Clips = Sequence[Truth]


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description="Which metric sees which known damage to real clips.")
    parser.add_argument("videos", nargs="+", type=Path, help="videos of one face each")
    parser.add_argument("--output", type=Path, required=True, help="where to write the table as JSON")
    arguments = parser.parse_args()
    asset = resolve_landmarker()
    with FaceLandmarker(asset.path, asset.model) as detector:
        clips = [_clip(path, detector) for path in arguments.videos]
        scored: dict[str, list[ClipScores | None]] = {}
        for name, damaged in _damages(clips).items():
            print(name, flush=True)
            scored[name] = [_score(truth, frames, detector) for truth, frames in zip(clips, damaged, strict=True)]
    table = DamageTable(
        clips=len(clips),
        frames=FRAMES,
        size_px=SIZE_PX,
        landmark_model=asset.model,
        packages=installed(),
        damages=tuple(scored),
        harmless=HARMLESS,
        rows=tuple(_row(BY_NAME[name], scored) for name in SHOWN),
    )
    write_json(arguments.output, table.model_dump(mode="json"))
    print(as_markdown("", [as_grid(table)], [table.how]))


def _clip(path: Path, detector: FaceLandmarker) -> Truth:
    """A still square around the face, and the frames in which most moves; ValueError where the face is lost."""
    frames = read_frames(path, slice(0, READ))
    height, width = frames.shape[1:3]
    found = [detector.detect(frame) for frame in frames[::10]]
    points = np.concatenate([faces[0].points[:, :2] for faces in found if faces]) * (width, height)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    half = min(0.62 * np.ptp(points, axis=0).max(), *middle, width - middle[0], height - middle[1])
    box = (*(middle - half), *(middle + half))
    square = np.stack([np.asarray(_fitted(Image.fromarray(frame), box)) for frame in frames])
    start, stop = moving_window(detect_faces(detector, square[::2], GEOMETRY), 0, len(square) // 2, FRAMES // 2)
    part = square[2 * start : 2 * start + FRAMES]
    truth = Truth(part, detect_faces(detector, part, GEOMETRY))
    if not truth.faces.found.all():
        raise ValueError(f"{path}: the face is lost in some of the frames {2 * start} to {2 * stop}")
    print(path.name, f"frames {2 * start} to {2 * start + len(part)}, {truth.turned.sum()} turned", flush=True)
    return truth


def _fitted(picture: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    return picture.resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX, box=box)


def _damages(clips: Clips) -> Mapping[str, Sequence[np.ndarray | None]]:
    """Every damage of every clip; None where a clip cannot suffer it: a head that does not turn."""

    def each(change: Callable[[Truth], np.ndarray | None]) -> list[np.ndarray | None]:
        return [change(truth) for truth in clips]

    def turning(
        paint: Callable[[np.ndarray, damage.FaceTrack, np.ndarray], np.ndarray],
    ) -> Callable[[Truth], np.ndarray | None]:
        return lambda truth: paint(truth.frames, truth.faces, truth.turned) if truth.turned.any() else None

    def at_rest(truth: Truth) -> int:
        return int(truth.signals["mouth_opening"].argmin())

    def wide_open(truth: Truth) -> int:
        return int((truth.signals["eye_opening_left"] + truth.signals["eye_opening_right"]).argmax())

    return {
        COPY: each(lambda truth: truth.frames),
        HARMLESS: each(lambda truth: _recompressed(truth.frames)),
        "blur, σ 1": each(lambda truth: damage.blurred(truth.frames, 1)),
        "blur, σ 3": each(lambda truth: damage.blurred(truth.frames, 3)),
        "lasting blots": each(lambda truth: damage.flickering(truth.frames, lasting=True)),
        "flicker": each(lambda truth: damage.flickering(truth.frames)),
        "one frame late": each(lambda truth: damage.late(truth.frames)),
        "frozen mouth": each(lambda truth: damage.with_mouth_of(truth.frames, truth.faces, at_rest(truth))),
        "no blinks": each(lambda truth: damage.with_eyes_of(truth.frames, truth.faces, wide_open(truth))),
        "mirrored gaze": each(lambda truth: damage.with_mirrored_eyes(truth.frames, truth.faces)),
        "half the amplitude": each(
            lambda truth: damage.at_half_amplitude(truth.frames, truth.signals["mouth_opening"])
        ),
        "first frame repeated": each(lambda truth: np.repeat(truth.frames[:1], len(truth.frames), axis=0)),
        "another person": [clips[place - 1].frames for place in range(len(clips))],
        "glasses when turned": each(turning(damage.with_glasses)),
        "teeth when turned": each(turning(damage.with_teeth)),
    }


def _recompressed(frames: np.ndarray) -> np.ndarray:
    pictures = []
    for frame in frames:
        held = io.BytesIO()
        Image.fromarray(frame).save(held, "JPEG", quality=85)
        pictures.append(np.asarray(Image.open(held)))
    return np.stack(pictures)


def _score(truth: Truth, frames: np.ndarray | None, detector: FaceLandmarker) -> ClipScores | None:
    if frames is None:
        return None
    metrics = [BY_NAME[name] for name in SHOWN]
    return score(Comparison(truth, frames, detect_faces(detector, frames, GEOMETRY)), metrics)


def _row(metric: Metric, scored: Mapping[str, Sequence[ClipScores | None]]) -> Row:
    values = [estimate(metric, [clip for clip in clips if clip is not None]).value for clips in scored.values()]
    away = np.array([float(metric.shortfall(value)) for value in values])
    enough = away - away[0] > LEAST * np.nanmax(away - away[0])
    return Row(
        metric=metric.name,
        values=tuple(json_number(value) for value in values),
        seen=tuple(
            bool(much) and _sees(metric, clips, scored[COPY], scored[HARMLESS])
            for much, clips in zip(enough, scored.values(), strict=True)
        ),
    )


def _sees(
    metric: Metric,
    damaged: Sequence[ClipScores | None],
    copies: Sequence[ClipScores | None],
    harmless: Sequence[ClipScores | None],
) -> bool:
    """Whether a metric is clearly worse than on the copy in most clips on which it says anything of all three."""
    told = []
    for three in zip(damaged, copies, harmless, strict=True):
        away, at_copy, usual = (float(metric.shortfall(clip.value(metric))) if clip else np.nan for clip in three)
        if np.isfinite((away, at_copy, usual)).all():
            told.append(away - at_copy > TIMES_HARMLESS * abs(usual - at_copy) + 1e-6)
    return bool(told) and sum(told) >= SEEN_IN * len(told)


if __name__ == "__main__":
    main()
