"""Methods side by side: the paper's table with intervals, paired differences, and every metric, in four formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from pydantic import Field

from fye_model.config import Config
from fye_model.evaluation.aggregate import INTERVAL, Outcome, compare, estimate, json_number
from fye_model.evaluation.cross import METRICS_OF
from fye_model.evaluation.metric import Metric
from fye_model.evaluation.metrics import MISSING_NOTE
from fye_model.evaluation.scores import ClipScores
from fye_model.files import whole_folder, write_atomic, write_json
from tasks.bench.manifest import Bench, Kind, PairRow
from tasks.bench.methods import REFERENCE, WARP
from tasks.results.grids import Grid, Number, as_csv, as_markdown, as_page, between, heading, value_text
from tasks.results.verdict import show

SCHEMA = 1
TABLES_FOLDER = "scores"  # in the output folder
_TASKS: tuple[Kind, ...] = ("cross", "self")
_TITLES: dict[Kind, str] = {
    "cross": "Cross reenactment: a portrait performs another one's video",
    "self": "Self reenactment: a video's first frame performs the rest of it",
}
# The columns of the paper's table first, those that need weights included; then what sees the expression.
_HEADLINES: dict[Kind, tuple[str, ...]] = {
    "cross": (
        *("arcface", "hyperiqa", "portrait_away", "identity", "brisque", "landmark_ap_placed"),
        *("expression_correlation", "expression_change_error"),
        *("blinks.recall", "aed", "apd_rotation", "failure_rate"),
    ),
    "self": (
        *("l1", "psnr", "ssim", "lpips", "fvd", "tlp", "landmark_ap", "expression_correlation", "expression_error"),
        *("blinks.recall", "identity", "failure_rate"),
    ),
}


class Cell(Config):
    """A metric of one method: its value, interval and the pairs in it; `reason` where there is no value."""

    value: Number
    interval: tuple[float, float] | None
    pairs: int
    reason: str | None


class Contrast(Config):
    """Two methods on the same pairs, in one metric: ours minus theirs, and what the interval says."""

    metric: str
    ours: str
    theirs: str
    value: Number
    interval: tuple[float, float] | None
    pairs: int
    outcome: Outcome


class TaskScores(Config):
    """One task: what each method scored in each metric, how it differs from the others, and what is missing."""

    pairs: int
    methods: dict[str, dict[str, Cell]]
    differences: tuple[Contrast, ...]
    missing: dict[str, str]


class PairScore(Config):
    """One result's value in every metric of its task. statistics: what pools over pairs, for later comparisons."""

    pair: str
    kind: Kind
    method: str
    frames: int
    no_face_in_result: int
    no_face_in_truth: int
    values: dict[str, Number]
    statistics: dict[str, tuple[Number, ...]]


class BenchScores(Config):
    """scores.json. bench: name, protocol and the sha256 of its manifest."""

    schema_version: int = Field(SCHEMA, alias="schema")
    bench: dict[str, str]
    protocol: dict[str, str | int]
    methods: tuple[str, ...]
    tasks: dict[str, TaskScores]
    strata: dict[str, dict[str, dict[str, Cell]]]  # style -> method -> deciding metric, of cross pairs
    pairs: tuple[PairScore, ...]


Scores = Mapping[str, Mapping[str, ClipScores]]  # method -> pair's name -> scores


def side_by_side(bench: Bench, digest: str, protocol: dict[str, str | int], scores: Scores) -> BenchScores:
    """Everything that is said of some methods' results; `scores` holds every pair of the bench for each method."""
    tasks: dict[str, TaskScores] = {}
    rows: list[PairScore] = []
    for kind in _TASKS:
        pairs = [pair for pair in bench.pairs if pair.kind == kind]
        if pairs:
            tasks[kind] = _task(kind, {method: [of[pair.name] for pair in pairs] for method, of in scores.items()})
        rows += [_pair_score(pair, method, of[pair.name]) for pair in pairs for method, of in scores.items()]
    return BenchScores(
        schema=SCHEMA,
        bench={"name": bench.header.name, "protocol": bench.header.protocol, "manifest_sha256": digest},
        protocol=protocol,
        methods=tuple(scores),
        tasks=tasks,
        strata=_strata(bench, scores),
        pairs=tuple(rows),
    )


def _task(kind: Kind, scores: Mapping[str, Sequence[ClipScores]]) -> TaskScores:
    metrics = METRICS_OF[kind]
    methods = {name: {metric.name: _cell(metric, clips) for metric in metrics} for name, clips in scores.items()}
    unmeasured = [m for m in metrics if all(cells[m.name].value is None for cells in methods.values())]
    return TaskScores(
        pairs=len(next(iter(scores.values()))),
        methods=methods,
        differences=tuple(
            _contrast(metric, ours, theirs, scores) for ours, theirs in combinations(scores, 2) for metric in metrics
        ),
        missing={metric.name: f"missing: {reason}" for metric in unmeasured if (reason := metric.lacks())},
    )


def _cell(metric: Metric, clips: Sequence[ClipScores]) -> Cell:
    found = estimate(metric, clips)
    return Cell(value=json_number(found.value), interval=found.interval, pairs=found.clips, reason=found.reason)


def _contrast(metric: Metric, ours: str, theirs: str, scores: Mapping[str, Sequence[ClipScores]]) -> Contrast:
    found = compare(metric, scores[ours], scores[theirs])
    return Contrast(
        metric=metric.name,
        ours=ours,
        theirs=theirs,
        value=json_number(found.value),
        interval=found.interval,
        pairs=found.clips,
        outcome=found.outcome,
    )


def _pair_score(pair: PairRow, method: str, scores: ClipScores) -> PairScore:
    return PairScore(
        pair=pair.name,
        kind=pair.kind,
        method=method,
        frames=scores.frames,
        no_face_in_result=scores.no_face_in_result,
        no_face_in_truth=scores.no_face_in_truth,
        values={metric.name: json_number(scores.value(metric)) for metric in METRICS_OF[pair.kind]},
        statistics={
            metric.name: tuple(json_number(value) for value in scores.statistics[metric.name])
            for metric in METRICS_OF[pair.kind]
        },
    )


def _strata(bench: Bench, scores: Scores) -> dict[str, dict[str, dict[str, Cell]]]:
    """The cross pairs by the portrait's style, and those whose portrait has no face that the landmark model finds."""
    cross = [pair for pair in bench.pairs if pair.kind == "cross"]
    groups: dict[str, list[PairRow]] = {}
    for pair in cross:
        portrait = bench.portrait(pair)
        groups.setdefault(portrait.style, []).append(pair)
        if not portrait.detectable:
            groups.setdefault("not detectable", []).append(pair)
    shown = [metric for metric in METRICS_OF["cross"] if metric.decides or metric.name == "failure_rate"]
    return {
        group: {
            method: {metric.name: _cell(metric, [of[pair.name] for pair in pairs]) for metric in shown}
            for method, of in scores.items()
        }
        for group, pairs in sorted(groups.items())
    }


def grids(found: BenchScores) -> list[Grid]:
    """The tables that people read: for each task the headline numbers and their paired differences."""
    tables = []
    for kind in _TASKS:
        if kind not in found.tasks:
            continue
        task, names = found.tasks[kind], _HEADLINES[kind]
        labels = tuple(_label(kind, name) for name in names)
        rows = tuple((method, *(_value(task, method, name) for name in names)) for method in task.methods)
        tables.append(Grid(f"{_TITLES[kind]} ({task.pairs} pairs)", ("method", *labels), rows))
        contrasts = {(row.ours, row.theirs, row.metric): row for row in task.differences}
        couples = dict.fromkeys((row.ours, row.theirs) for row in task.differences)
        rows = tuple((f"{a} − {b}", *(_difference(contrasts.get((a, b, name))) for name in names)) for a, b in couples)
        tables.append(Grid("Paired differences, with what their intervals say of the first", ("pair", *labels), rows))
    return tables


def all_metrics(found: BenchScores) -> list[Grid]:
    """For each task every metric, a row each."""
    tables = []
    for kind in _TASKS:
        if kind in found.tasks:
            task = found.tasks[kind]
            rows = tuple(
                (_label(kind, metric.name), *(_value(task, method, metric.name) for method in task.methods))
                for metric in METRICS_OF[kind]
            )
            tables.append(Grid(f"{_TITLES[kind]}: all metrics", ("metric", *task.methods), rows))
    return tables


def notes(found: BenchScores) -> list[str]:
    """What the numbers have to be read with."""
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in {**found.bench, **found.protocol}.items()]
    lines.append(f"{REFERENCE}: the portrait repeated for every frame; a method that is not better moves nothing")
    if WARP in found.methods:
        lines.append(
            f"{WARP}: the portrait's picture bent by triangles between its landmarks, which move as the driver's do; a "
            "portrait without a detectable face is repeated"
        )
    lines.append(f"intervals: {INTERVAL.replace('clips', 'pairs')}")
    for kind in _TASKS:
        if kind in found.tasks:
            labels = {metric.name: metric.label for metric in METRICS_OF[kind]}
            lines += [f"{labels[name]}: {reason}" for name, reason in found.tasks[kind].missing.items()]
    return [*dict.fromkeys(lines), MISSING_NOTE]


def write_tables(found: BenchScores, folder: Path) -> None:
    """Write scores.json, table.md, table.html, table.csv, differences.csv and pairs.csv, all of them or none."""
    name, tables, told = found.bench["name"], grids(found), notes(found)
    page = as_page(f"{name}: methods side by side", tables, told, all_metrics(found))
    with whole_folder(folder) as out:
        write_json(out / "scores.json", found.model_dump(mode="json", by_alias=True))
        markdown = as_markdown(f"{name}: {len(found.methods)} methods side by side", tables, told)
        write_atomic(out / "table.md", markdown.encode())
        write_atomic(out / "table.html", page.encode())
        write_atomic(out / "table.csv", as_csv(_value_rows(found)))
        write_atomic(out / "differences.csv", as_csv(_difference_rows(found)))
        write_atomic(out / "pairs.csv", as_csv(_pair_rows(found)))


def _value_rows(found: BenchScores) -> list[list[object]]:
    head: list[object] = [*("task", "method", "metric", "unit", "better", "value", "low", "high", "pairs", "reason")]
    rows = [head]
    for kind, task in found.tasks.items():
        units = {metric.name: (metric.unit, metric.better) for metric in METRICS_OF[_kind(kind)]}
        for method, cells in task.methods.items():
            for name, cell in cells.items():
                low, high = cell.interval or (None, None)
                reason = task.missing.get(name, cell.reason)
                rows.append([kind, method, name, *units[name], cell.value, low, high, cell.pairs, reason])
    return rows


def _difference_rows(found: BenchScores) -> list[list[object]]:
    rows: list[list[object]] = [[*("task", "metric", "ours", "theirs", "value", "low", "high", "pairs", "outcome")]]
    for kind, task in found.tasks.items():
        for row in task.differences:
            low, high = row.interval or (None, None)
            rows.append([kind, row.metric, row.ours, row.theirs, row.value, low, high, row.pairs, row.outcome])
    return rows


def _pair_rows(found: BenchScores) -> list[list[object]]:
    names = list(dict.fromkeys(metric.name for kind in _TASKS for metric in METRICS_OF[kind]))
    rows: list[list[object]] = [["kind", "pair", "method", "frames", "no_face_in_result", "no_face_in_truth", *names]]
    for row in found.pairs:
        counts = (row.frames, row.no_face_in_result, row.no_face_in_truth)
        rows.append([row.kind, row.pair, row.method, *counts, *(row.values.get(name) for name in names)])
    return rows


def _kind(name: str) -> Kind:
    return "self" if name == "self" else "cross"


def _label(kind: Kind, name: str) -> str:
    return heading(next(metric for metric in METRICS_OF[kind] if metric.name == name))


def _value(task: TaskScores, method: str, name: str) -> str:
    if name in task.missing:
        return "missing"
    cell = task.methods[method][name]
    return value_text(cell.value, cell.interval, cell.reason)


def _difference(found: Contrast | None) -> str:
    if found is None:
        return "missing"
    if found.value is None:
        return "–"
    return f"{show(found.value)}{between(found.interval)} {found.outcome}"
