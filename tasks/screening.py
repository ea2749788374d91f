"""Which clips are good enough, with reasons in words, and which frames train and which are held out.

Pure functions over the scores that the landmark stage stored: a changed threshold costs no detection. Rejected clips
stay in the result with every rule that they break.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fye_model.config import ScreeningConfig, SplitConfig
from fye_model.landmarks.table import sequences_same_model
from tasks.engine.items import Worker
from tasks.engine.stage import Item, Stage, StageResult
from tasks.workspace.dataset import Clip

MIN_VAL_FRAMES = 8  # a held-out tail shorter than this shows no motion
MIN_TRAIN_FRAMES = 16  # what must be left of a clip before a tail is taken off

Span = tuple[int, int]
Row = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """Whether a clip is kept; `reasons` has one sentence for every rule that it breaks."""

    clip: str
    kept: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Spans:
    """Half-open frame spans of a clip; (0, 0) is empty."""

    train: Span
    val: Span


@dataclass(frozen=True)
class _Rule:
    """`problem` says what is wrong with a row, or gives None."""

    name: str
    problem: Callable[[Row, ScreeningConfig], str | None]


def _at_least(score: str, setting: str, label: str) -> _Rule:
    def problem(row: Row, config: ScreeningConfig) -> str | None:
        limit = getattr(config, setting)
        return f"{label} {row[score]:.4g} is below {limit:g} (screening.{setting})" if row[score] < limit else None

    return _Rule(setting, problem)


def _brightness(row: Row, config: ScreeningConfig) -> str | None:
    low, high = config.brightness
    if low <= row["brightness"] <= high:
        return None
    side = "dark" if row["brightness"] < low else "bright"
    return f"too {side}: mean grey level {row['brightness']:.4g} is outside {low:g}-{high:g} (screening.brightness)"


def _yaw(row: Row, config: ScreeningConfig) -> str | None:
    yaw = max(map(abs, row["yaw"]))
    if yaw <= config.max_yaw_deg:
        return None
    return f"the head turns {yaw:.3g} degrees, more than {config.max_yaw_deg:g} (screening.max_yaw_deg)"


RULES = (
    _at_least("detection_rate", "min_detection_rate", "detection rate"),
    _at_least("valid_frames", "min_valid_frames", "number of valid frames"),
    _at_least("face_fraction", "min_face_fraction", "face height as a fraction of the frame"),
    _at_least("sharpness", "min_sharpness", "sharpness"),
    _Rule("brightness", _brightness),
    _Rule("max_yaw_deg", _yaw),
    _at_least("motion", "min_motion", "motion in interocular distances per second"),
    _at_least("expression_range_mm", "min_expression_range_mm", "expression range in mm"),
)


def screen(rows: Sequence[Row], config: ScreeningConfig) -> list[Verdict]:
    """Judge every clip by its scores (`tasks/faces/scores.py`, plus `clip`), in order.

    Raises ValueError when the rows come from more than one landmark model: their scores and points do not compare.
    """
    if rows:
        sequences_same_model(row["model"] for row in rows)
    verdicts = []
    for row in rows:
        reasons = tuple(reason for rule in RULES if (reason := rule.problem(row, config)) is not None)
        verdicts.append(Verdict(row["clip"], not reasons, reasons))
    return verdicts


def funnel(rows: Sequence[Row], config: ScreeningConfig) -> list[dict[str, Any]]:
    """Clips and frames left after each rule in turn; a clip counts as lost at the first rule that it breaks."""
    left = list(rows)
    steps = [{"rule": "all clips", "lost": 0, "clips": len(left), "frames": sum(row["frames"] for row in left)}]
    for rule in RULES:
        before = len(left)
        left = [row for row in left if rule.problem(row, config) is None]
        frames = sum(row["frames"] for row in left)
        steps.append({"rule": rule.name, "lost": before - len(left), "clips": len(left), "frames": frames})
    return steps


def split(rows: Sequence[Row], config: SplitConfig) -> dict[str, Spans]:
    """Training and held-out span of every clip: by whole subjects, whole clips, or the tail of each clip.

    rows: `clip`, `subject`, `frames`. A subject's or clip's side depends on the seed and its own name, so it stays
    there when others come and go; only where nobody would be held out the nearest one is. A single one is trained on
    whole: a data set may begin with it, and training says what it lacks. With `all`, everything is held out.
    """
    if config.by == "tail":
        return {row["clip"]: _tail(row["frames"], config.holdout) for row in rows}
    if config.by == "all":
        return {row["clip"]: Spans((0, 0), (0, row["frames"])) for row in rows}
    key = "subject" if config.by == "subject" else "clip"
    held_out = _held_out({row[key] for row in rows}, config)
    spans = {}
    for row in rows:
        whole, empty = (0, row["frames"]), (0, 0)
        spans[row["clip"]] = Spans(empty, whole) if row[key] in held_out else Spans(whole, empty)
    return spans


def _held_out(names: set[str], config: SplitConfig) -> set[str]:
    if len(names) < 2:
        return set()
    ranked = sorted((_draw(config.seed, name), name) for name in names)
    chosen = {name for draw, name in ranked if draw < config.holdout}
    if not chosen:
        chosen = {ranked[0][1]}
    elif len(chosen) == len(names):
        chosen.remove(ranked[-1][1])
    return chosen


def _draw(seed: int, name: str) -> float:
    """A number in [0, 1) that depends on seed and name alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") / 2**64


def _tail(frames: int, holdout: float) -> Spans:
    held = max(round(holdout * frames), MIN_VAL_FRAMES)
    if frames - held < MIN_TRAIN_FRAMES:
        return Spans((0, frames), (0, 0))
    return Spans((0, frames - held), (frames - held, frames))


class ScreeningWorker(Worker):
    """The screening stage: one item with all clips' scores in `params["rows"]`."""

    def __init__(self, screening: ScreeningConfig, split: SplitConfig) -> None:
        self.screening = screening
        self.split = split

    def process(self, files: dict[str, Path], params: dict[str, Any], out: Path) -> dict[str, Any]:
        """Returns `kept` (clip, name, train, val), `rejected` (clip, name, reasons) and the `funnel`."""
        rows = params["rows"]
        names = {row["clip"]: row["name"] for row in rows}
        verdicts = screen(rows, self.screening)
        good = {verdict.clip for verdict in verdicts if verdict.kept}
        spans = split([row for row in rows if row["clip"] in good], self.split)
        return {
            "kept": [
                {"clip": clip, "name": names[clip], "train": list(span.train), "val": list(span.val)}
                for clip, span in spans.items()
            ],
            "rejected": [
                {"clip": verdict.clip, "name": names[verdict.clip], "reasons": list(verdict.reasons)}
                for verdict in verdicts
                if not verdict.kept
            ],
            "funnel": funnel(rows, self.screening),
        }


def screening_item(clips: Iterable[Clip], marked: StageResult) -> Item:
    """All clips' scores as the screening stage's one item."""
    scores = {outcome.id: outcome.row for outcome in marked.done}
    rows = [
        {**scores[clip.clip], "clip": clip.clip, "name": clip.name, "subject": clip.subject}
        for clip in clips
        if clip.clip in scores
    ]
    return Item("screening", "screening", {}, {"rows": rows})


SCREENING = Stage("screening", "1", ScreeningWorker, pooled=False)
