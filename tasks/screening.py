"""Which clips are good enough, with reasons in words, and which frames train and which are held out.

Pure functions over the scores that the landmark stage stored: a changed threshold costs no detection. Rejected clips
stay in the result with every rule that they break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from fye_model.config import Config, ScreeningConfig, SplitConfig
from fye_model.landmarks.table import sequences_same_model
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Item, StageResult, Worker
from tasks.engine.many import many_records
from tasks.engine.stage import Context, Stage
from tasks.footage.duplicates import Copy, Seen, find_copies
from tasks.footage.splits import Side, Span, Spans, split
from tasks.landmarks import LandmarkRow
from tasks.lip_sync import NOT_SCORED, LipSyncRow
from tasks.workspace.dataset import Clip
from tasks.workspace.decisions import Decision
from tasks.workspace.summary import DataSummary, FunnelStep

BY_HAND = "rejected by hand (decisions.json in the work folder)"
UNUSED = "neither held out nor of the subjects that train (split.subjects)"


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
    source: str = ""  # the id of what it was cut from
    sync_offset_s: float | None = None  # above 0 the sound comes before the lips; None: not measured
    sync_confidence: float | None = None


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
    copies: tuple[Copy, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Whether a clip is kept; `reasons` has one sentence for every rule that it breaks. `by_hand`: somebody decided."""

    clip: str
    kept: bool
    reasons: tuple[str, ...]
    by_hand: bool = False


@dataclass(frozen=True)
class _Rule:
    """`problem` says what is wrong with a row, or gives None."""

    name: str
    problem: Callable[[ScoredClip, ScreeningConfig], str | None]


def _at_least(score: str, setting: str, label: str) -> _Rule:
    read = attrgetter(score)

    def problem(row: ScoredClip, config: ScreeningConfig) -> str | None:
        limit, value = getattr(config, setting), read(row)
        below = limit is not None and value is not None and value < limit
        return f"{label} {value:.4g} is below {limit:.4g} (screening.{setting})" if below else None

    return _Rule(setting, problem)


def _at_most(score: str, setting: str, label: str) -> _Rule:
    read = attrgetter(score)

    def problem(row: ScoredClip, config: ScreeningConfig) -> str | None:
        limit, value = getattr(config, setting), read(row)
        above = limit is not None and value is not None and abs(value) > limit
        return f"{label} {abs(value):.4g} is above {limit:.4g} (screening.{setting})" if above else None

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


def _no_face(row: ScoredClip, config: ScreeningConfig) -> str | None:
    limit, apart = config.max_looks_apart, row.looks_apart
    if limit is None or apart is None or apart <= limit:
        return None
    if not row.doubtful:
        return (
            "upside down: turned on its head the picture shows a face there, and more looks at it see it "
            f"{apart:.3g} of the distance between the eyes elsewhere, more than {limit:g} (screening.max_looks_apart); "
            "turn the video"
        )
    return (
        f"hardly a face: its shape is off by {row.shape_error:.3g} of the distance between the eyes, and more looks at "
        f"it see it {apart:.3g} of that elsewhere, more than {limit:g} (screening.max_looks_apart)"
    )


RULES = (
    _at_least("detection_rate", "min_detection_rate", "detection rate"),
    _Rule("max_looks_apart", _no_face),
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
    _at_most("covered", "max_covered", "share of the face that something covers"),
    _at_most("lettering", "max_lettering", "length of a line of lettering as a share of the picture's width,"),
    _at_most("sync_offset_s", "max_sync_offset_s", "distance in seconds of the sound from the lips"),
    _at_least("sync_confidence", "min_sync_confidence", "confidence that sound and lips fit"),
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


class ScreeningWorker(Worker[ScreeningFacts, ScreeningRow]):
    """Judges all clips of a data set at once."""

    def __init__(self, settings: ScreeningSettings, context: Context) -> None:
        self.settings = settings

    @many_records()
    def process(self, item: Given[ScreeningFacts]) -> ScreeningRow:
        """Writes no file: the verdicts are the row."""
        rows, config = item.facts.rows, self.settings.screening
        by_rules = decided(screen(rows, config), item.facts.decisions)
        pairs, copies = find_copies(_seen(rows, by_rules, item.files), config.copy_correlation)
        verdicts = _without(copies, rows, by_rules)
        good = {verdict.clip for verdict in verdicts if verdict.kept}
        names = {row.clip: row.subject if self.settings.split.by == "subject" else row.clip for row in rows}
        together = [(names[first], names[second]) for first, second in pairs]
        spans = split([row for row in rows if row.clip in good], self.settings.split, together)
        unused = {clip for clip, span in spans.items() if span.train == span.val}
        used = [Verdict(verdict.clip, False, (UNUSED,)) if verdict.clip in unused else verdict for verdict in verdicts]
        judged = list(zip(rows, used, strict=True))
        steps = funnel(rows, config)
        return ScreeningRow(
            kept=tuple(_kept(row, verdict, spans[row.clip]) for row, verdict in judged if verdict.kept),
            rejected=tuple(_rejected(row, verdict) for row, verdict in judged if not verdict.kept),
            funnel=(
                *steps,
                *_funnel_by_hand(rows, steps[-1].clips, by_rules),
                *_funnel_of("copy_correlation", len(copies), rows, verdicts),
                *_funnel_of("split.subjects", len(unused), rows, used),
            ),
            copies=tuple(copies),
        )


def _seen(rows: Sequence[ScoredClip], verdicts: Sequence[Verdict], files: Mapping[str, Path]) -> list[Seen]:
    """The kept clips, to be looked through for copies: of two the longer, by seconds, or the sharper is worth more."""
    return [
        Seen(
            clip=row.clip,
            source=row.source or row.clip,
            thumbnails=files[f"clips/{row.clip}/thumbnails"],
            wanted=verdict.by_hand,
            worth=(round(row.frames / row.fps), row.sharpness),
        )
        for row, verdict in zip(rows, verdicts, strict=True)
        if verdict.kept and f"clips/{row.clip}/thumbnails" in files
    ]


def _without(copies: Sequence[Copy], rows: Sequence[ScoredClip], verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts, with a reason for each copy that names the clip that is kept."""
    names = {row.clip: row.name for row in rows}
    reasons = {copy.clip: copy.reason(names[copy.of]) for copy in copies}
    return [
        Verdict(verdict.clip, False, (reasons[verdict.clip],)) if verdict.clip in reasons else verdict
        for verdict in verdicts
    ]


def _funnel_of(rule: str, lost: int, rows: Sequence[ScoredClip], verdicts: Sequence[Verdict]) -> list[FunnelStep]:
    """What a choice behind all rules took out, and what it left; nothing where it took none."""
    left = [row.frames for row, verdict in zip(rows, verdicts, strict=True) if verdict.kept]
    return [FunnelStep(rule=rule, lost=lost, clips=len(left), frames=sum(left))] if lost else []


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


def _funnel_by_hand(rows: Sequence[ScoredClip], before: int, verdicts: Sequence[Verdict]) -> list[FunnelStep]:
    """What people took out of the clips that the rules left, or put back; nothing where nobody decided."""
    if not any(verdict.by_hand for verdict in verdicts):
        return []
    left = [row.frames for row, verdict in zip(rows, verdicts, strict=True) if verdict.kept]
    return [FunnelStep(rule="by hand", lost=before - len(left), clips=len(left), frames=sum(left))]


def scored_clip(clip: Clip, row: LandmarkRow, lips: LipSyncRow) -> ScoredClip:
    """A clip with all that is known of it alone."""
    return ScoredClip(
        **dict(row),
        clip=clip.id,
        name=clip.record.name,
        subject=clip.record.subject,
        side=clip.source.split if clip.source is not None else None,
        source=clip.source.id if clip.source is not None else "",
        sync_offset_s=lips.offset_s,
        sync_confidence=lips.confidence,
    )


@many_records()
def screening_item(
    clips: Sequence[Clip],
    marked: StageResult[LandmarkRow],
    decisions: Mapping[str, Decision] = MappingProxyType({}),
    lips: StageResult[LipSyncRow] | None = None,
) -> Item[ScreeningFacts]:
    """All clips' scores as the one item, with the decisions on those of them that somebody looked at."""
    scores = {outcome.id: outcome.row for outcome in marked.done}
    fits = {outcome.id: outcome.row for outcome in lips.done} if lips is not None else {}
    rows = tuple(scored_clip(one, scores[one.id], fits.get(one.id, NOT_SCORED)) for one in clips if one.id in scores)
    chosen = {row.clip: decisions[row.clip].keep for row in rows if row.clip in decisions}
    known = {clip: keep for clip, keep in chosen.items() if keep is not None}
    seen = {f"clips/{clip.id}/thumbnails": clip.files["thumbnails"] for clip in clips if "thumbnails" in clip.files}
    return Item("screening", "screening", seen, ScreeningFacts(rows=rows, decisions=known))


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
    "5",
    settings=lambda recipe: ScreeningSettings(screening=recipe.screening, split=recipe.split),
    reads={"clips/*/thumbnails?": Kind.THUMBNAILS},
    writes={},
    row=ScreeningRow,
    open=ScreeningWorker,
    resources=Resources(pooled=False),
)
