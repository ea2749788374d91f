"""Which clips are good enough, with reasons in words, and which frames train and which are held out.

Pure functions over the scores that the landmark stage stored: a changed threshold costs no detection. Rejected clips
stay in the result with every rule that they break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from fye_model.config import Config, ScreeningConfig, SplitConfig
from fye_model.landmarks.table import sequences_same_model
from tasks.engine.contract import Resources
from tasks.engine.items import Given, Item, StageResult, Worker
from tasks.engine.stage import Context, Stage
from tasks.footage.splits import Side, held_out
from tasks.landmarks import LandmarkRow
from tasks.workspace.dataset import Clip
from tasks.workspace.decisions import Decision
from tasks.workspace.summary import DataSummary, FunnelStep

MIN_VAL_FRAMES = 8  # a held-out tail shorter than this shows no motion
MIN_TRAIN_FRAMES = 16  # what must be left of a clip before a tail is taken off
BY_HAND = "rejected by hand (decisions.json in the work folder)"

Span = tuple[int, int]


class ScreeningSettings(Config):
    """Thresholds, and how the kept clips are split."""

    screening: ScreeningConfig
    split: SplitConfig


class ScoredClip(LandmarkRow):
    """A clip with the scores that it is judged by; `side` where its source says on which side of the split it is."""

    clip: str
    name: str
    subject: str
    side: Side | None = None


class ScreeningFacts(Config):
    """Every clip that has landmarks, and what people decided: a clip's id -> whether it is wanted."""

    rows: tuple[ScoredClip, ...]
    decisions: dict[str, bool] = Field(default_factory=dict)


class KeptClip(Config):
    """A clip that is kept, with its half-open spans of frames; [0, 0] is empty.

    by_hand: somebody decided so. overruled: what the rules said against it.
    """

    clip: str
    name: str
    subject: str
    train: Span
    val: Span
    by_hand: bool = False
    overruled: tuple[str, ...] = ()


class RejectedClip(Config):
    """A clip that is not kept, with one sentence for every rule that it breaks; by_hand: somebody decided so."""

    clip: str
    name: str
    subject: str
    reasons: tuple[str, ...]
    by_hand: bool = False


class ScreeningRow(Config):
    """The verdicts on all clips."""

    kept: tuple[KeptClip, ...]
    rejected: tuple[RejectedClip, ...]
    funnel: tuple[FunnelStep, ...]


@dataclass(frozen=True)
class Verdict:
    """Whether a clip is kept; `reasons` has one sentence for every rule that it breaks. `by_hand`: somebody decided."""

    clip: str
    kept: bool
    reasons: tuple[str, ...]
    by_hand: bool = False


@dataclass(frozen=True)
class Spans:
    """Half-open frame spans of a clip; (0, 0) is empty."""

    train: Span
    val: Span


@dataclass(frozen=True)
class _Rule:
    """`problem` says what is wrong with a row, or gives None."""

    name: str
    problem: Callable[[ScoredClip, ScreeningConfig], str | None]


def _at_least(score: str, setting: str, label: str) -> _Rule:
    read = attrgetter(score)

    def problem(row: ScoredClip, config: ScreeningConfig) -> str | None:
        limit, value = getattr(config, setting), read(row)
        return f"{label} {value:.4g} is below {limit:.4g} (screening.{setting})" if value < limit else None

    return _Rule(setting, problem)


def _at_most(score: str, setting: str, label: str) -> _Rule:
    read = attrgetter(score)

    def problem(row: ScoredClip, config: ScreeningConfig) -> str | None:
        limit, value = getattr(config, setting), read(row)
        above = limit is not None and value > limit
        return f"{label} {value:.4g} is above {limit:.4g} (screening.{setting})" if above else None

    return _Rule(setting, problem)


def _brightness(row: ScoredClip, config: ScreeningConfig) -> str | None:
    low, high = config.brightness
    if low <= row.brightness <= high:
        return None
    side = "dark" if row.brightness < low else "bright"
    return f"too {side}: mean grey level {row.brightness:.4g} is outside {low:g}-{high:g} (screening.brightness)"


def _yaw(row: ScoredClip, config: ScreeningConfig) -> str | None:
    yaw = max(map(abs, row.yaw))
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
    _at_least("completeness", "min_completeness", "completeness"),
    _at_most("head.not_alone", "max_not_alone", "number of seconds without exactly one face"),
    _at_least("head.inside_min", "min_inside", "share of eyes, nose and mouth within the picture"),
    _at_least("head.face_area_mean", "min_mean_face_area", "mean area of the face's box in the picture"),
    _at_least("head.face_area_min", "min_face_area", "least area of the face's box in the picture"),
    _at_most("head.movement_mean", "max_mean_movement", "mean movement of the head from second to second"),
    _at_most("head.movement_max", "max_movement", "movement of the head within a second"),
    _at_most("head.turn_mean_deg", "max_mean_turn_deg", "mean turn of the head in degrees a second"),
    _at_most("head.turn_max_deg", "max_turn_deg", "turn of the head in degrees within a second"),
    _at_most("head.off_axis_mean_deg", "max_mean_off_axis_deg", "mean angle in degrees away from the camera"),
    _at_most("head.off_axis_max_deg", "max_off_axis_deg", "angle in degrees away from the camera"),
)


def screen(rows: Sequence[ScoredClip], config: ScreeningConfig) -> list[Verdict]:
    """Judge every clip by its scores (`tasks/faces/scores.py`, plus `clip`), in order.

    Raises ValueError when the rows come from more than one landmark model: their scores and points do not compare.
    """
    if rows:
        sequences_same_model(row.model for row in rows)
    verdicts = []
    for row in rows:
        reasons = tuple(reason for rule in RULES if (reason := rule.problem(row, config)) is not None)
        verdicts.append(Verdict(row.clip, not reasons, reasons))
    return verdicts


def funnel(rows: Sequence[ScoredClip], config: ScreeningConfig) -> list[FunnelStep]:
    """Clips and frames left after each rule in turn; a clip counts as lost at the first rule that it breaks."""
    left = list(rows)
    steps = [FunnelStep(rule="all clips", lost=0, clips=len(left), frames=sum(row.frames for row in left))]
    for rule in RULES:
        before = len(left)
        left = [row for row in left if rule.problem(row, config) is None]
        frames = sum(row.frames for row in left)
        steps.append(FunnelStep(rule=rule.name, lost=before - len(left), clips=len(left), frames=frames))
    return steps


def split(rows: Sequence[ScoredClip], config: SplitConfig) -> dict[str, Spans]:
    """Training and held-out span of every clip: by whole subjects, whole clips, or the tail of each clip.

    rows: `clip`, `subject`, `frames`, `side`. A subject's or clip's side depends on the seed and its own name, so it
    stays there when others come and go; only where nobody would be held out the nearest one is. A source that says on
    which side its subjects are goes before that. A single one is trained on whole: a data set may begin with it, and
    training says what it lacks. With `all`, everything is held out.
    """
    if config.by == "tail":
        return {row.clip: _tail(row.frames, config.holdout) for row in rows}
    if config.by == "all":
        return {row.clip: Spans((0, 0), (0, row.frames)) for row in rows}
    units = {row.clip: row.subject if config.by == "subject" else row.clip for row in rows}
    fixed = {units[row.clip]: row.side for row in rows if row.side is not None}
    chosen = held_out(units.values(), config.holdout, config.seed, fixed)
    spans = {}
    for row in rows:
        whole, empty = (0, row.frames), (0, 0)
        spans[row.clip] = Spans(empty, whole) if units[row.clip] in chosen else Spans(whole, empty)
    return spans


def _tail(frames: int, holdout: float) -> Spans:
    held = max(round(holdout * frames), MIN_VAL_FRAMES)
    if frames - held < MIN_TRAIN_FRAMES:
        return Spans((0, frames), (0, 0))
    return Spans((0, frames - held), (frames - held, frames))


class ScreeningWorker(Worker[ScreeningFacts, ScreeningRow]):
    """Judges all clips of a data set at once."""

    def __init__(self, settings: ScreeningSettings, context: Context) -> None:
        self.settings = settings

    def process(self, item: Given[ScreeningFacts]) -> ScreeningRow:
        """Writes no file: the verdicts are the row."""
        rows, config = item.facts.rows, self.settings.screening
        verdicts = decided(screen(rows, config), item.facts.decisions)
        good = {verdict.clip for verdict in verdicts if verdict.kept}
        spans = split([row for row in rows if row.clip in good], self.settings.split)
        judged = list(zip(rows, verdicts, strict=True))
        return ScreeningRow(
            kept=tuple(_kept(row, verdict, spans[row.clip]) for row, verdict in judged if verdict.kept),
            rejected=tuple(_rejected(row, verdict) for row, verdict in judged if not verdict.kept),
            funnel=(*funnel(rows, config), *_funnel_by_hand(rows, config, verdicts)),
        )


def _kept(row: ScoredClip, verdict: Verdict, spans: Spans) -> KeptClip:
    return KeptClip(
        clip=row.clip,
        name=row.name,
        subject=row.subject,
        train=spans.train,
        val=spans.val,
        by_hand=verdict.by_hand,
        overruled=verdict.reasons,
    )


def _rejected(row: ScoredClip, verdict: Verdict) -> RejectedClip:
    said, by_hand = verdict.reasons, verdict.by_hand
    return RejectedClip(clip=row.clip, name=row.name, subject=row.subject, reasons=said, by_hand=by_hand)


def decided(verdicts: Sequence[Verdict], decisions: Mapping[str, bool]) -> list[Verdict]:
    """The verdicts of the rules, overruled by what people decided (a clip's id -> whether it is wanted)."""
    after = []
    for verdict in verdicts:
        if verdict.clip in decisions:
            keep = decisions[verdict.clip]
            reasons = verdict.reasons if keep else (BY_HAND, *verdict.reasons)
            verdict = Verdict(verdict.clip, keep, reasons, by_hand=True)
        after.append(verdict)
    return after


def _funnel_by_hand(
    rows: Sequence[ScoredClip], config: ScreeningConfig, verdicts: Sequence[Verdict]
) -> list[FunnelStep]:
    """What people took out or put back, behind the rules; nothing where nobody decided."""
    if not any(verdict.by_hand for verdict in verdicts):
        return []
    before = funnel(rows, config)[-1].clips
    left = [row.frames for row, verdict in zip(rows, verdicts, strict=True) if verdict.kept]
    return [FunnelStep(rule="by hand", lost=before - len(left), clips=len(left), frames=sum(left))]


def screening_item(
    clips: Iterable[Clip], marked: StageResult[LandmarkRow], decisions: Mapping[str, Decision] = MappingProxyType({})
) -> Item[ScreeningFacts]:
    """All clips' scores as the one item, with the decisions on those of them that somebody looked at."""
    scores = {outcome.id: outcome.row for outcome in marked.done}
    rows = tuple(
        ScoredClip(
            **scores[clip.id].model_dump(),
            clip=clip.id,
            name=clip.record.name,
            subject=clip.record.subject,
            side=clip.source.split if clip.source is not None else None,
        )
        for clip in clips
        if clip.id in scores
    )
    chosen = {row.clip: decisions[row.clip].keep for row in rows if row.clip in decisions}
    known = {clip: keep for clip, keep in chosen.items() if keep is not None}
    return Item("screening", "screening", {}, ScreeningFacts(rows=rows, decisions=known))


def kept_clips(clips: Iterable[Clip], verdicts: ScreeningRow, purpose: Literal["train", "val"] = "train") -> list[Clip]:
    """The clips that screening kept, with their spans.

    Raises ValueError when none is left to train (or evaluate) on, with reasons, and when training would have nothing
    held out to choose its checkpoint by.
    """
    spans = {entry.clip: {"train": entry.train, "val": entry.val} for entry in verdicts.kept}
    kept = [replace(clip, record=clip.record.model_copy(update=spans[clip.id])) for clip in clips if clip.id in spans]
    if not any(stop > start for clip in kept for start, stop in [getattr(clip.record, purpose)]):
        reasons = [f"{entry.name}: {'; '.join(entry.reasons)}" for entry in verdicts.rejected][:5]
        raise ValueError(
            f"no clip is left to {'train on' if purpose == 'train' else 'evaluate'}. "
            + (" | ".join(reasons) or "Every source was set aside")
            + ". "
            "See quarantine.parquet and summary.json in the work folder; thresholds are under `screening` in the recipe"
        )
    if not any(clip.record.val[1] - clip.record.val[0] > 1 for clip in kept):
        raise ValueError(
            f"nothing is held out of the {len(kept)} clips of {len({clip.record.subject for clip in kept})} subjects, "
            "so no checkpoint could be chosen and nothing evaluated. Add videos of others, or set split.by=tail to "
            "hold out the end of every clip (split.holdout says how much)"
        )
    return kept


def data_summary(clips: Sequence[Clip], verdicts: ScreeningRow) -> DataSummary:
    """What a data set holds, and what screening made of it."""
    kept = {entry.clip for entry in verdicts.kept}
    return DataSummary(
        clips=len(clips),
        kept=len(kept),
        subjects=len({clip.record.subject for clip in clips if clip.id in kept}),
        rejected={entry.name: entry.reasons for entry in verdicts.rejected},
        funnel=verdicts.funnel,
    )


SCREENING = Stage(
    "screening",
    "3",
    settings=lambda recipe: ScreeningSettings(screening=recipe.screening, split=recipe.split),
    reads={},
    writes={},
    row=ScreeningRow,
    open=ScreeningWorker,
    resources=Resources(pooled=False),
)
