"""An ablation as people read it: the paper's Table 2 with intervals, as page, Markdown, CSV and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fye_model.ablations import FULL
from fye_model.evaluation.aggregate import INTERVAL
from fye_model.evaluation.cross import METRICS_OF, Task
from fye_model.evaluation.metric import Metric, is_lack
from fye_model.files import write_atomic, write_json
from tasks.results.ablation import AblationTable, Cell, Contrast
from tasks.results.grids import Grid, as_csv, as_markdown, as_page, between, heading, value_text
from tasks.results.verdict import show

_TITLES: dict[Task, str] = {
    "self": "Self reenactment: held-out frames of the same clip are the truth",
    "cross": "Cross reenactment: another person drives",
}
# What the parts are for comes first: errors inside the two masks that the FFG loss weighs, gaze, and blinks.
_HEADLINES: dict[Task, tuple[str, ...]] = {
    "self": (
        *("l1", "l1_expression", "l1_face", "l1_rest", "ssim", "change_error", "lpips", "fvd", "landmark_ap"),
        "expression_error",
        *("expression_correlation", "expression.gaze_x.error", "expression.gaze_x.correlation"),
        *("expression.gaze_y.correlation", "blinks.recall", "blinks.precision", "identity", "failure_rate"),
    ),
    "cross": (
        *(
            "arcface",
            "hyperiqa",
            "identity",
            "brisque",
            "landmark_ap_placed",
            "expression_change_error",
            "expression_correlation",
        ),
        *("expression.gaze_x.correlation", "expression.gaze_y.correlation", "blinks.recall", "failure_rate"),
    ),
}
TABLE_FILES = ("ablation.json", "table.md", "table.html", "table.csv", "differences.csv")


def write_ablation(found: AblationTable, folder: Path, pictures: Sequence[tuple[str, str]] = ()) -> None:
    """Write `TABLE_FILES` into a folder. pictures: title and address of those that the page shows."""
    title, told = f"{found.recipe}: the method with one part taken away", notes(found)
    page = as_page(title, grids(found), told, [*everything(found), sharing(found)], pictures)
    write_atomic(folder / "table.md", as_markdown(title, grids(found), told).encode())
    write_atomic(folder / "table.html", page.encode())
    write_atomic(folder / "table.csv", as_csv(_value_rows(found)))
    write_atomic(folder / "differences.csv", as_csv(_difference_rows(found)))
    write_json(folder / "ablation.json", found.model_dump(mode="json", by_alias=True))


def grids(found: AblationTable) -> list[Grid]:
    """For each task the headline numbers, and each variant's paired difference to the full method."""
    tables = []
    for task, metrics in _headlines(found):
        held = found.tasks[task]
        head = tuple(heading(metric) for metric in metrics)
        rows = [
            (found.variants[name].label, *(_value(cells[metric.name], why=False) for metric in metrics))
            for name, cells in held.values.items()
        ]
        if len(found.seeds) > 1:
            rows.append(("seeds of the full method apart", *(_spread(held.values[FULL][m.name]) for m in metrics)))
        unit = "clips" if task == "self" else "pairs"
        tables.append(Grid(f"{_TITLES[task]} ({held.clips} {unit})", ("variant", *head), tuple(rows)))
        tables.append(
            Grid(
                "Paired difference to the full method, and what its interval says of the variant",
                ("variant", *head),
                tuple(
                    (found.variants[name].label, *(_difference(cells[metric.name]) for metric in metrics))
                    for name, cells in held.differences.items()
                ),
            )
        )
    return tables


def everything(found: AblationTable) -> list[Grid]:
    """For each task every metric, a row each."""
    return [
        Grid(
            f"{_TITLES[task]}: all metrics",
            ("metric", *(found.variants[name].label for name in held.values)),
            tuple(
                (heading(metric), *(_value(cells[metric.name]) for cells in held.values.values())) for metric in metrics
            ),
        )
        for task, metrics in METRICS_OF.items()
        if (held := found.tasks.get(task)) is not None
    ]


def sharing(found: AblationTable) -> Grid:
    """Which stages each variant and seed computed, and which it found in the store."""
    stages = list(dict.fromkeys(name for told in found.variants.values() for of in told.stages for name in of))
    rows = [
        (f"{told.label}, seed {seed}", *(of.get(name, "") for name in stages))
        for told in found.variants.values()
        for seed, of in zip(found.seeds, told.stages, strict=True)
    ]
    return Grid("What this run computed, and what it found", ("variant", *stages), tuple(rows))


def notes(found: AblationTable) -> list[str]:
    """What the numbers have to be read with."""
    count = len(found.seeds)
    one = "one seed: a difference can be the seed's own, which no interval over clips shows; --seeds 3 tells more"
    several = (
        f"{count} seeds of each variant, summed clip by clip; the last row tells how far those of one method lie apart"
    )
    lines = [f"intervals: {INTERVAL}", one if count == 1 else several]
    lines += [f"{told.label}: {_changes(told.changed)}" for told in found.variants.values() if told.changed]
    if found.cross_left_out is not None:
        lines.append(f"cross reenactment {found.cross_left_out}")
        if "plain_2d" in found.variants:
            lines.append(
                "2D landmark: driven by itself, a face's 2D and projected 3D landmarks are the same to rounding; only "
                "another person's motion, which was left out here, can tell the two apart"
            )
    lines += [f"{name.replace('_', ' ')}: {value}" for name, value in found.terms.items()]
    return [*dict.fromkeys([*lines, *_missing(found)])]


def _missing(found: AblationTable) -> list[str]:
    """The headline metrics that could not be measured, with what they need."""
    cells = [
        (metric, found.tasks[task].values[FULL][metric.name])
        for task, metrics in _headlines(found)
        for metric in metrics
    ]
    return [f"{metric.label}: missing: {cell.reason}" for metric, cell in cells if is_lack(cell.reason)]


def _changes(values: object, path: str = "") -> str:
    """Settings as `key.path=value`."""
    if isinstance(values, dict):
        inner = (_changes(value, f"{path}.{key}" if path else str(key)) for key, value in values.items())
        return ", ".join(inner)
    return f"{path}={values}"


def _headlines(found: AblationTable) -> list[tuple[Task, list[Metric]]]:
    return [
        (task, [metric for name in _HEADLINES[task] for metric in metrics if metric.name == name])
        for task, metrics in METRICS_OF.items()
        if task in found.tasks
    ]


def _value(cell: Cell, why: bool = True) -> str:
    """why: say what is the matter where there is no value; the wide table has no room for it."""
    return "missing" if is_lack(cell.reason) else value_text(cell.value, cell.interval, cell.reason if why else None)


def _spread(cell: Cell) -> str:
    """The largest distance between two seeds."""
    values = [float(value) for value in cell.by_seed if value is not None]
    return show(max(values) - min(values)) if len(values) == len(cell.by_seed) else "–"


def _difference(found: Contrast) -> str:
    if found.value is None:
        return "–"
    return f"{show(found.value)}{between(found.interval)} {found.outcome}"


def _value_rows(found: AblationTable) -> list[list[object]]:
    rows: list[list[object]] = [[*("task", "variant", "metric", "seed", "value", "low", "high", "clips", "reason")]]
    for task, held in found.tasks.items():
        for name, cells in held.values.items():
            for metric, cell in cells.items():
                low, high = cell.interval or (None, None)
                rows.append([task, name, metric, "all", cell.value, low, high, cell.clips, cell.reason])
                for seed, value in zip(found.seeds, cell.by_seed, strict=True):
                    rows.append([task, name, metric, seed, value, None, None, cell.clips, cell.reason])
    return rows


def _difference_rows(found: AblationTable) -> list[list[object]]:
    rows: list[list[object]] = [[*("task", "variant", "metric", "value", "low", "high", "clips", "outcome")]]
    for task, held in found.tasks.items():
        for name, cells in held.differences.items():
            for metric, cell in cells.items():
                low, high = cell.interval or (None, None)
                rows.append([task, name, metric, cell.value, low, high, cell.clips, cell.outcome])
    return rows
