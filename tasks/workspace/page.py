"""A run's summary as Prefect's page shows it: numbers, stages, a picture, and the way to the report."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image
from pydantic import JsonValue

from fye_model.evaluation.table import BY_NAME
from tasks.engine.store import Store, is_address
from tasks.results.verdict import show as number
from tasks.workspace.publish import EVALUATION_FOLDER
from tasks.workspace.summary import QuarantineRow, Results, Summary

_TOLD = ("l1", "ssim", "landmark_error", "expression_error", "expression_correlation", "blinks.recall")
_STRIPS = f"{EVALUATION_FOLDER}/strips"
_PICTURE_PX = 640  # wide; it lies in the server's data base
_BETTER = {True: "better", False: "not better", None: "–"}


def show(summary: Summary, quarantine: Sequence[QuarantineRow], picture: bytes | None = None) -> None:
    """Log the summary and leave it as Prefect artifacts: a page, the stages and what was set aside as tables, and a
    link to the report.

    picture: a JPEG for the page.
    """
    from httpx import TransportError
    from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
    from prefect.logging import get_run_logger

    logger = get_run_logger()
    for row in quarantine:
        logger.warning("quarantined in %s: %s: %s: %s", row.stage, row.name, row.reason, row.message)
    stages = [stage.model_dump(mode="json") for stage in summary.stages]
    page = "\n".join(_page(summary, picture)) + "\n"
    try:
        create_table_artifact(stages, key="stages", description="Stages of this run")
        if quarantine:
            rows = [row.model_dump(mode="json") for row in quarantine]
            create_table_artifact(rows, key="quarantine", description="What was set aside, and why")
        create_markdown_artifact(page, key="summary", description=f"What came out of {summary.flow}")
        if (report := (summary.outputs or {}).get("report")) is not None:
            told = f"The report: {report}"
            create_link_artifact(_link(report), link_text="report.html", key="report", description=told)
    except TransportError as error:  # everything is done and written by now
        logger.warning(
            "Prefect's server does not answer (%s): its page does not show the summary", type(error).__name__
        )
    logger.info("%s in %.0f s", summary.status, summary.seconds)


def picture_of(store: Store, results: Results) -> bytes | None:
    """A small JPEG of the evaluation's first strip; None where nothing was evaluated."""
    if "evaluation" not in (results.outputs or {}):
        return None
    names = [name for name in store.names(_STRIPS) if name.endswith(".png")]
    if not names:
        return None
    with Image.open(io.BytesIO(store.read_bytes(f"{_STRIPS}/{names[0]}")), formats=("PNG",)) as image:
        image.thumbnail((_PICTURE_PX, 4 * _PICTURE_PX))
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _page(summary: Summary, picture: bytes | None) -> Iterator[str]:
    yield f"**{_text(summary.status)}** in {summary.seconds:.0f} s, recipe {_text(summary.recipe)}"
    if summary.error is not None:
        yield f"\n{_text(summary.error)}"
    if summary.selected_checkpoint is not None:
        yield f"\nSelected: {_text(summary.selected_checkpoint)}"
    if (line := summary.promotion) is not None:
        said = "Promoted" if line.promoted else "Waits for a person" if line.waiting else "Not promoted"
        yield f"\n**{said}**: model {_text(line.model)}, {_text(line.why)}. The rule: {_text(line.rule)}."
    if summary.metrics is not None and summary.baseline is not None:
        yield "\n| metric | model | repeated reference | model is |\n|---|---|---|---|"
        for name in _TOLD:
            ours, theirs = _value(summary.metrics, name), _value(summary.baseline, name)
            said = _BETTER[(summary.beats_baseline or {}).get(name)]
            yield f"| {_text(BY_NAME[name].label)} | {number(ours)} | {number(theirs)} | {said} |"
    if picture is not None:
        data = base64.b64encode(picture).decode()
        yield f"\n![reference, landmarks, truth, result](data:image/jpeg;base64,{data})"
    if summary.data is not None:
        data_set = summary.data
        yield f"\n{data_set.kept} of {data_set.clips} clips kept, subjects: {data_set.subjects}"
    yield "\n| stage | | done | cached | set aside | s |\n|---|---|---|---|---|---|"
    for stage in summary.stages:
        counts = f"{stage.done} of {stage.items} | {stage.cached} | {stage.quarantined} | {stage.seconds:.1f}"
        yield f"| {_text(stage.stage)} | {_text(stage.state)} | {counts} |"
    if summary.outputs:
        yield "\n| | where |\n|---|---|"
        yield from (f"| {_text(name)} | {_text(place)} |" for name, place in summary.outputs.items())


def _value(metrics: Mapping[str, JsonValue], name: str) -> float | None:
    found: JsonValue = dict(metrics)
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found if isinstance(found, float) else None


def _text(words: str) -> str:
    """Somebody else's words, such as names of files, that stay words on the page."""
    plain = html.escape(" ".join(words.split()), quote=False)
    return "".join(f"\\{sign}" if sign in "\\`*_[]|#!" else sign for sign in plain)


def _link(place: str) -> str:
    """An address that a browser of the same machine opens."""
    return place if is_address(place) else Path(place).resolve().as_uri()
