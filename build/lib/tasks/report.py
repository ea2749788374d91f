"""The report of a run: one HTML file that opens from disk, without a network, with pictures and small videos inside.

Everything that comes from users' files (names, messages) goes through jinja2's autoescaping.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fye_model.config import Config
from fye_model.evaluation.cross import CROSS_METRICS
from fye_model.evaluation.metric import Metric
from fye_model.evaluation.table import BY_NAME, METRICS
from fye_model.files import write_atomic
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import NOTHING, Given, Item, Nothing, Worker
from tasks.engine.stage import Context, Stage
from tasks.engine.store import FileRef
from tasks.results.verdict import show, verdict
from tasks.workspace.summary import DataSummary, QuarantineRow, StageLine

REPORT_NAME = "report.html"
_INLINE_VIDEO_BYTES = 3 << 20  # larger ones lie beside the report
_MAX_CLIPS, _MAX_PAIRS = 12, 6  # shown with pictures, worst first
_BETTER = {"lower": "lower is better", "higher": "higher is better", "one": "1 is best"}
_QUESTIONS = {
    "expression": "Did it perform the expression?",
    "pose": "Did the head turn as the driver's?",
    "landmarks": "Are the points where they should be?",
    "picture": "Is it the same picture?",
    "identity": "Is it still the same person?",
}


def write_report(
    facts: ReportFacts,
    evaluation: Mapping[str, Any],
    selection: Mapping[str, Any],
    curves: Mapping[str, Path],
    out_dir: Path,
    *,
    evaluation_dir: Path,
) -> Path:
    """Write `report.html` (and videos too large to inline) into `out_dir`; returns its path.

    evaluation, selection: what `tasks.evaluate` and `tasks.select` return. curves: title -> metrics.jsonl.
    evaluation_dir: the folder that the evaluation's strips and videos are relative to.
    """
    from tasks.results.plots import curve_svgs, selection_svgs  # matplotlib is slow to import

    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "results"), autoescape=True, undefined=StrictUndefined
    ).get_template(REPORT_NAME)
    out_dir.mkdir(parents=True, exist_ok=True)
    page = template.render(
        title=f"Follow-Your-Emoji: {facts.flow}, recipe {facts.recipe}",
        facts=[("Landmark model", facts.landmark_model), ("Status", facts.status)],
        verdict=verdict(evaluation, selection),
        evaluation=evaluation,
        metric_groups=_metric_groups(evaluation),
        strata_rows=_strata_rows(evaluation),
        cross=evaluation["cross"],
        cross_groups=_metric_groups(evaluation["cross"], CROSS_METRICS) if "model" in evaluation["cross"] else [],
        cross_gallery=_cross_gallery(evaluation["cross"], evaluation_dir, out_dir),
        missing=[(name, reason) for name, reason in evaluation["missing"].items()],
        gallery=_gallery(evaluation, evaluation_dir, out_dir),
        selection=selection,
        selection_columns=_selection_columns(),
        selection_lines=_selection_lines(selection),
        selection_plots=[_svg(picture) for picture in selection_svgs(selection["rows"], selection["baseline"])],
        curve_plots=[_svg(picture) for title, path in curves.items() for picture in curve_svgs(title, path)],
        stages=facts.stages,
        funnel=funnel(facts.stages, facts.quarantine),
        screening=facts.data.funnel,
        rejected=facts.data.rejected,
        quarantine=facts.quarantine,
        protocol=_protocol(evaluation["protocol"]),
    )
    target = out_dir / REPORT_NAME
    write_atomic(target, page.encode())
    return target


class ReportFacts(Config):
    """What the report says of the run itself. All of it is in its key: a report is never older than its run.

    Seconds and what came from a cache are left out, as they change with every run; summary.json has them.
    """

    flow: str
    recipe: str
    landmark_model: str
    status: str
    stages: tuple[StageLine, ...]
    data: DataSummary
    quarantine: tuple[QuarantineRow, ...]


class ReportRow(Config):
    """Name of the page."""

    report: str


class ReportWorker(Worker[ReportFacts, ReportRow]):
    """The report as a stage."""

    def __init__(self, settings: Nothing, context: Context) -> None:
        pass

    def process(self, item: Given[ReportFacts]) -> ReportRow:
        """Read `evaluation/…`, `selection.json` and the metrics.jsonl of every `curves/<title>`; write report.html."""
        metrics = item.files["evaluation/metrics.json"]
        curves = {n.removeprefix("curves/"): path for n, path in item.files.items() if n.startswith("curves/")}
        report = write_report(
            item.facts,
            json.loads(metrics.read_text()),
            json.loads(item.files["selection.json"].read_text()),
            curves,
            item.out,
            evaluation_dir=metrics.parent,
        )
        return ReportRow(report=report.name)


def report_item(facts: ReportFacts, inputs: Mapping[str, FileRef]) -> Item[ReportFacts]:
    """The report on a run, with the files that it shows."""
    return Item("report", "report", inputs, facts)


REPORT = Stage(
    "report",
    "2",
    settings=lambda recipe: NOTHING,
    reads={"curves/*": Kind.CURVE, "evaluation/*": Kind.EVALUATION, "selection*": Kind.SELECTION},
    writes={"report.html": Kind.REPORT, "videos/*?": Kind.EVALUATION},
    row=ReportRow,
    open=ReportWorker,
    resources=Resources(pooled=False),
    tools=("matplotlib", "jinja2"),
)


def funnel(stages: Sequence[StageLine], quarantine: Sequence[QuarantineRow]) -> list[FunnelStage]:
    """Per stage that works item by item: how many entered and left, and the reasons of those that did not."""
    reasons: dict[str, Counter[str]] = {}
    for row in quarantine:
        reasons.setdefault(row.stage, Counter())[row.reason] += 1
    steps: list[FunnelStage] = []
    known = {stage.stage for stage in stages}
    for name in reasons.keys() - known:  # sources that were set aside before any stage saw them
        entered = reasons[name].total() + (stages[0].items if stages else 0)
        steps.append(_step(name, entered, entered - reasons[name].total(), reasons[name]))
    for stage in stages:
        if stage.items > 1 or stage.quarantined:
            steps.append(_step(stage.stage, stage.items, stage.done, reasons.get(stage.stage, Counter())))
    return steps


@dataclass(frozen=True)
class FunnelStage:
    """How many items entered and left a stage, and the reasons of those that did not with their counts."""

    stage: str
    entered: int
    left: int
    percent: int
    reasons: list[tuple[str, int]]


def _step(name: str, entered: int, left: int, reasons: Counter[str]) -> FunnelStage:
    percent = round(100 * left / entered) if entered else 0
    return FunnelStage(name, entered, left, percent, reasons.most_common())


def _metric_groups(
    evaluation: Mapping[str, Any], metrics: Sequence[Metric] = METRICS
) -> list[tuple[str, list[dict[str, str]]]]:
    """Rows of the metric table by the question that they answer."""
    return [
        (title, [_metric_row(metric, evaluation) for metric in metrics if metric.question == question])
        for question, title in _QUESTIONS.items()
    ]


def _metric_row(metric: Metric, evaluation: Mapping[str, Any]) -> dict[str, str]:
    ours, theirs = evaluation["model"][metric.name], evaluation["baseline"][metric.name]
    difference = evaluation["difference"][metric.name]
    tone = {"better": "win", "worse": "lose", "cannot tell": ""}
    return {
        "label": f"{metric.label}, {metric.unit}" if metric.unit else metric.label,
        "arrow": _BETTER[metric.better],
        "model": show(ours["mean"]),
        "baseline": show(theirs["mean"]),
        "model_interval": _interval(ours["ci95"]),
        "baseline_interval": _interval(theirs["ci95"]),
        "difference": "" if difference["mean"] is None else show(difference["mean"]),
        "difference_interval": _interval(difference["ci95"]),
        "outcome": difference["outcome"] if ours["mean"] is not None else ours.get("reason", ""),
        "tone": tone[difference["outcome"]],
        "decides": "decides" if metric.decides else "",
    }


def _strata_rows(evaluation: Mapping[str, Any]) -> list[dict[str, str]]:
    """The deciding metrics apart for clips that move and clips at rest, where there are both."""
    return [
        {
            "stratum": f"{name} ({stratum['clips']} clip{'s' if stratum['clips'] != 1 else ''})",
            "label": metric.label,
            "model": show(stratum["model"][metric.name]["mean"]),
            "baseline": show(stratum["baseline"][metric.name]["mean"]),
            "outcome": stratum["difference"][metric.name]["outcome"],
        }
        for name, stratum in evaluation["strata"].items()
        for metric in METRICS
        if metric.decides
    ]


def _selection_columns() -> list[tuple[str, str]]:
    """What the selection's table shows beside loss and score: (metric, heading)."""
    names = ("expression_error", "expression_correlation", "landmark_error", "l1", "ssim")
    return [(name, BY_NAME[name].label) for name in names]


@dataclass(frozen=True)
class _SelectionLine:
    """A checkpoint, or what checkpoints are held against, as the selection's table shows it: texts, but for the rank.

    cells: of each metric, its value and its interval.
    """

    rank: int | None
    name: str
    loss: str
    cells: tuple[tuple[str, str], ...]
    no_face: str
    score: str


def _selection_lines(selection: Mapping[str, Any]) -> list[_SelectionLine]:
    """The ranked checkpoints, then what they are held against: a first checkpoint outside the ranking, the baseline."""
    first, baseline = selection["first"], {**selection["baseline"], "checkpoint": "reference repeated (baseline)"}
    ranked = sorted(selection["rows"], key=lambda row: row["rank"])
    others = [first, baseline] if "rank" not in first else [baseline]
    return [
        _SelectionLine(
            rank=row.get("rank"),
            name=row["checkpoint"] + (" (first)" if row["checkpoint"] == first["checkpoint"] else ""),
            loss=show(row["loss"]) if "loss" in row else "",
            cells=tuple(
                (show(row[name]) if name in row else "", _interval(row.get("intervals", {}).get(name)))
                for name, _ in _selection_columns()
            ),
            no_face=f"{row['no_face_in_result']} of {row['frames']}",
            score=f"{row['score']:.2f}" if "score" in row else "",
        )
        for row in [*ranked, *others]
    ]


def _worst_first(evaluation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Clips by expression error over the baseline's, worst first; those without one last, by L1 over the baseline's."""

    def badness(clip: Mapping[str, Any]) -> tuple[int, float]:
        for place, name in ((1, "expression_error"), (0, "l1")):
            ours, theirs = clip["model"][name], clip["baseline"][name]
            if ours is not None and theirs is not None:
                return place, float(ours) - float(theirs)
        return 0, 0.0

    return sorted(evaluation["clips"], key=badness, reverse=True)


def _gallery(evaluation: Mapping[str, Any], folder: Path, out_dir: Path) -> list[dict[str, str]]:
    """The worst clips with video, strip and signals: chosen by rule, not by taste."""
    from tasks.results.plots import signals_svg

    items = []
    for clip in _worst_first(evaluation)[:_MAX_CLIPS]:
        numbers = ", ".join(
            f"{BY_NAME[name].label} {show(clip['model'][name])} (baseline {show(clip['baseline'][name])})"
            for name in ("expression_error", "l1")
        )
        moved = clip["motion"]
        rest = " (at rest)" if moved["at_rest"] else ""
        items.append(
            {
                "name": clip["name"],
                "motion": f"moves by {moved['expression_iod']:.3f} IOD and {moved['pose_deg']:.1f}°{rest}",
                "numbers": numbers,
                "video": _video(folder / clip["video"], out_dir),
                "strip": _data_uri((folder / clip["strip"]).read_bytes(), "image/png"),
                "signals": _svg(signals_svg(clip["signals"], clip["span"][1] - clip["model"]["frames"])),
            }
        )
    return items


def _cross_gallery(cross: Mapping[str, Any], folder: Path, out_dir: Path) -> list[dict[str, str]]:
    """The worst pairs with video and strip, by how far the expression is from the driver's."""

    def badness(row: Mapping[str, Any]) -> float:
        error = row["model"]["expression_change_error"]
        return -1.0 if error is None else float(error)

    known = {metric.name: metric.label for metric in CROSS_METRICS}
    items = []
    for row in sorted(cross.get("list", ()), key=badness, reverse=True)[:_MAX_PAIRS]:
        numbers = ", ".join(
            f"{known[name]} {show(row['model'][name])} (baseline {show(row['baseline'][name])})"
            for name in ("expression_change_error", "identity")
            if row["model"][name] is not None
        )
        note = "" if row["aligned"] else " (the motion could not be laid onto this face)"
        items.append(
            {
                "name": row["name"],
                "numbers": numbers + note,
                "video": _video(folder / row["video"], out_dir),
                "strip": _data_uri((folder / row["strip"]).read_bytes(), "image/png"),
            }
        )
    return items


def _video(path: Path, out_dir: Path) -> str:
    """The video itself when it is small, else its address beside the report."""
    if path.stat().st_size <= _INLINE_VIDEO_BYTES:
        return _data_uri(path.read_bytes(), "video/mp4")
    target = out_dir / "videos" / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.resolve() != path.resolve():
        shutil.copyfile(path, target)
    return quote(f"videos/{path.name}")


def _protocol(terms: Mapping[str, Any]) -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for key, value in terms.items():
        if isinstance(value, Mapping):
            inner = ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
            flat.append((key.replace("_", " "), inner))
        else:
            flat.append((key.replace("_", " "), str(value)))
    return flat


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{name} {item}" for name, item in value.items()) + ")"
    return str(value)


def _interval(bounds: Sequence[float] | None) -> str:
    return f"[{show(bounds[0])}, {show(bounds[1])}]" if bounds else ""


def _svg(picture: bytes) -> str:
    return _data_uri(picture, "image/svg+xml")


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
