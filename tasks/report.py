"""The report of a run: one HTML file that opens from disk, without a network, with pictures and small videos inside.

Everything that comes from users' files (names, messages) goes through jinja2's autoescaping.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fye_model.config import Config
from fye_model.evaluation.cross import CROSS_METRICS
from fye_model.evaluation.table import BY_NAME, METRICS
from fye_model.files import write_atomic
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import NOTHING, Given, Item, Nothing, Worker
from tasks.engine.stage import Context, Stage
from tasks.engine.store import FileRef
from tasks.results.known_damage import known_damage
from tasks.results.known_damage import lines as damage_lines
from tasks.results.made import Made, made_here
from tasks.results.report_pictures import gallery, svg
from tasks.results.report_previous import against
from tasks.results.report_rows import (
    clip_columns,
    clip_rows,
    metric_groups,
    metric_texts,
    other_terms,
    selection_columns,
    selection_lines,
    strata_rows,
    terms,
    worst_first,
)
from tasks.results.verdict import in_detail, verdict
from tasks.workspace.history import PastRun, changed_settings
from tasks.workspace.licences import Licence
from tasks.workspace.summary import DataSummary, QuarantineRow, StageLine

REPORT_NAME = "report.html"


def write_report(
    facts: ReportFacts,
    evaluation: Mapping[str, Any],
    selection: Mapping[str, Any],
    curves: Mapping[str, Path],
    out_dir: Path,
    *,
    evaluation_dir: Path,
    made: Made,
    previous_dir: Path | None = None,
) -> Path:
    """Write `report.html` (and videos too large to inline) into `out_dir`; returns its path.

    evaluation, selection: what `tasks.evaluate` and `tasks.select` return. curves: title -> metrics.jsonl.
    evaluation_dir: the folder that the evaluation's strips and videos are relative to. made: when, where and by what.
    previous_dir: the evaluation of the run that `facts.previous` names, where it is still there.
    """
    from tasks.results.plots import curve_svgs  # matplotlib is slow to import

    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "results"), autoescape=True, undefined=StrictUndefined
    ).get_template(REPORT_NAME)
    out_dir.mkdir(parents=True, exist_ok=True)
    page = template.render(
        title=f"Follow-Your-Emoji: {facts.flow}, recipe {facts.recipe}",
        facts=[("Landmark model", facts.landmark_model), ("Status", facts.status), ("Made", made.when)],
        verdict=verdict(evaluation, selection),
        details=in_detail(evaluation, selection),
        **_of_evaluation(evaluation, evaluation_dir, out_dir),
        **_of_selection(selection, evaluation),
        curve_plots=[svg(picture) for title, path in curves.items() for picture in curve_svgs(title, path)],
        stages=facts.stages,
        funnel=funnel(facts.stages, facts.quarantine),
        screening=facts.data.funnel,
        rejected=facts.data.rejected,
        quarantine=facts.quarantine,
        previous=facts.previous,
        against=None if previous_dir is None else against(evaluation_dir, previous_dir),
        made=made.lines(),
        licences=facts.licences,
        settings=facts.settings,
        damage=known_damage(),
        damage_lines=damage_lines(known_damage()),
    )
    target = out_dir / REPORT_NAME
    write_atomic(target, page.encode())
    return target


def _of_evaluation(evaluation: Mapping[str, Any], folder: Path, out_dir: Path) -> dict[str, object]:
    """What the page shows of an evaluation, whose strips and videos lie below `folder`."""
    from tasks.results.plots import METHOD_STYLES

    cross = evaluation["cross"]
    clips, pairs = worst_first(evaluation["clips"]), worst_first(cross.get("list", ()), "expression_change_error")
    columns, cross_columns = clip_columns(clips, METRICS), clip_columns(pairs, CROSS_METRICS)
    return {
        "evaluation": evaluation,
        "metric_groups": metric_groups(evaluation),
        "strata": strata_rows(evaluation),
        "columns": columns,
        "clips": clip_rows(clips, columns),
        "gallery": gallery(clips, [BY_NAME[name] for name in ("expression_error", "l1")], folder, out_dir),
        "styles": [(style["label"], style["color"]) for style in METHOD_STYLES.values()],
        "cross": cross,
        "cross_groups": metric_groups(cross, CROSS_METRICS) if "model" in cross else [],
        "cross_columns": cross_columns,
        "cross_clips": clip_rows(pairs, cross_columns),
        "cross_gallery": gallery(pairs, cross_columns[:2], folder, out_dir),
        "missing": evaluation["missing"],
        "protocol": terms(evaluation["protocol"]),
        "metric_texts": metric_texts(evaluation["protocol"]),
    }


def _of_selection(selection: Mapping[str, Any], evaluation: Mapping[str, Any]) -> dict[str, object]:
    """What the page shows of the selection of a checkpoint."""
    from tasks.results.plots import selection_svgs

    plots = selection_svgs(selection["rows"], selection["baseline"], selection["first"])
    return {
        "selection": selection,
        "selection_columns": selection_columns(),
        "selection_lines": selection_lines(selection),
        "selection_terms": other_terms(selection, evaluation),
        "selection_plots": [svg(picture) for picture in plots],
    }


class Previous(Config):
    """The run before this one in its work folder. changed: the settings that are others now, with both values."""

    finished: str
    recipe: str
    checkpoint: str
    changed: tuple[str, ...]


def told_of(past: PastRun | None, settings: str) -> Previous | None:
    """What a report says of the run before; settings: those of its own, as YAML."""
    if past is None:
        return None
    return Previous(
        finished=past.finished,
        recipe=past.recipe,
        checkpoint=past.checkpoint,
        changed=changed_settings(past.settings, settings),
    )


class ReportFacts(Config):
    """What the report says of the run itself. All of it is in its key: a report is never older than its run.

    Seconds and what came from a cache are left out, as they change with every run; summary.json has them. settings:
    the whole recipe, as YAML.
    """

    flow: str
    recipe: str
    landmark_model: str
    status: str
    stages: tuple[StageLine, ...]
    data: DataSummary
    quarantine: tuple[QuarantineRow, ...]
    settings: str
    licences: tuple[Licence, ...]
    previous: Previous | None = None


class ReportRow(Config):
    """Name of the page."""

    report: str


class ReportWorker(Worker[ReportFacts, ReportRow]):
    """The report as a stage."""

    def __init__(self, settings: Nothing, context: Context) -> None:
        pass

    def process(self, item: Given[ReportFacts]) -> ReportRow:
        """Read `evaluation/…`, `previous/…`, selection.json and every `curves/<title>`; write report.html."""
        metrics = item.files["evaluation/metrics.json"]
        curves = {n.removeprefix("curves/"): path for n, path in item.files.items() if n.startswith("curves/")}
        report = write_report(
            item.facts,
            json.loads(metrics.read_text()),
            json.loads(item.files["selection.json"].read_text()),
            curves,
            item.out,
            evaluation_dir=metrics.parent,
            made=made_here(),
            previous_dir=item.folder("previous") if "previous/metrics.json" in item.files else None,
        )
        return ReportRow(report=report.name)


def report_item(facts: ReportFacts, inputs: Mapping[str, FileRef]) -> Item[ReportFacts]:
    """The report on a run, with the files that it shows."""
    return Item("report", "report", inputs, facts)


REPORT = Stage(
    "report",
    "5",
    settings=lambda recipe: NOTHING,
    reads={
        "curves/*": Kind.CURVE,
        "evaluation/*": Kind.EVALUATION,
        "selection*": Kind.SELECTION,
        "previous/*?": Kind.EVALUATION,
    },
    writes={"report.html": Kind.REPORT, "videos/*?": Kind.EVALUATION},
    row=ReportRow,
    open=ReportWorker,
    resources=Resources(pooled=False),
    tools=("matplotlib", "jinja2", "pillow"),
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
