"""What one run of a flow carries from stage to stage, and what it leaves behind: summary.json and the manifests."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fye_model.config import Config, Recipe, Runtime
from tasks.engine.items import Item, Outcome, StageResult
from tasks.engine.stage import Stage
from tasks.engine.store import FileRef, Store
from tasks.faces.landmarker import LandmarkerAsset, resolve_landmarker
from tasks.workspace.dataset import Clip
from tasks.workspace.recipes import load_recipe
from tasks.workspace.sources import REGISTRY

COMPLETED = "Completed"
WITH_QUARANTINE = "CompletedWithQuarantine"
FAILED = "Failed"


@dataclass
class Run:
    """The store, the settings and the landmark model of one run, and the results of its stages so far."""

    store: Store
    recipe: Recipe
    runtime: Runtime
    landmarker: LandmarkerAsset
    set_aside: list[Outcome] = field(default_factory=list)  # sources that never became items
    results: list[StageResult] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def stage(self, stage: Stage, items: list[Item], **configs: Config) -> StageResult:
        """Run a stage with these parts of the recipe, and what it needs of the run; remember its result."""
        given = {"landmarker": self.landmarker, "runtime": self.runtime}
        arguments = {name: given[name] for name in stage.needs}
        assets = {"landmarker": self.landmarker.model} if "landmarker" in stage.needs else {}
        result = stage.run(self.store, self.runtime, items, dict(configs), assets=assets, arguments=arguments)
        self.results.append(result)
        return result

    def whole(self, name: str, clips: list[Clip], inputs: dict[str, FileRef]) -> Item:
        """The one item of a stage that reads many clips: their records and what holds for all of them."""
        clip = self.recipe.clips
        common = {"size": clip.size, "factor": self.recipe.autoencoder.factor, "fps": self.recipe.ingest.fps}
        params = {**common, "clips": [entry.record() for entry in clips], "landmark_model": self.landmarker.model}
        return Item(name, name, inputs, params)

    def quarantined(self) -> list[dict[str, Any]]:
        """Every item set aside so far: stage, clip, reason, message."""
        rows = [("scan", outcome) for outcome in self.set_aside]
        rows += [(result.stage, outcome) for result in self.results for outcome in result.quarantined]
        return [
            {
                "stage": stage,
                "clip": outcome.name,
                "id": outcome.id,
                "reason": outcome.reason,
                "message": outcome.message,
            }
            for stage, outcome in rows
        ]

    @property
    def status(self) -> str:
        return WITH_QUARANTINE if self.quarantined() else COMPLETED


def open_run(work: str, recipe: str, overrides: list[str], runtime: Runtime) -> Run:
    """Open the store, resolve recipe and landmark model, and hold the data set to the one model it was made with."""
    store = Store(work)
    resolved = load_recipe(recipe, overrides)
    landmarker = resolve_landmarker(runtime.assets)
    claim_landmark_model(store, landmarker.model)
    return Run(store, resolved, runtime, landmarker)


def claim_landmark_model(store: Store, model: str) -> None:
    """Raise ValueError when this work folder's landmarks come from another model; note the model when it is new.

    Two models' landmarks differ by more than the expressions that are learned from them, so they never mix.
    """
    registry = store.read_json(REGISTRY) if store.exists(REGISTRY) else {"schema": 1, "roots": []}
    known = registry.setdefault("landmark_model", model)
    if known != model:
        raise ValueError(
            f"the data set in {store.url} was made with the landmark model {known}, and this run has {model}. "
            "Two models never mix in one data set: provide the first (FYE_ASSETS=FOLDER), or take another work folder"
        )
    store.write_json(REGISTRY, registry)


KEPT = "clips.json"


def data_summary(clips: list[Clip], screened: StageResult) -> dict[str, Any]:
    """What a data set holds, and what screening made of it."""
    row = screened.only.row
    kept = {entry["clip"] for entry in row["kept"]}
    return {
        "clips": len(clips),
        "kept": len(kept),
        "subjects": len({clip.subject for clip in clips if clip.clip in kept}),
        "rejected": {entry["name"]: entry["reasons"] for entry in row["rejected"]},
        "funnel": row["funnel"],
    }


def data_changes(store: Store, clips: list[Clip], screened: StageResult) -> dict[str, list[str]]:
    """Names of the clips that came and went since this was last asked, which is noted."""
    before: dict[str, str] = store.read_json(KEPT) if store.exists(KEPT) else {}
    kept = {entry["clip"]: entry["name"] for entry in screened.only.row["kept"]}
    store.write_json(KEPT, kept)
    known = {clip.clip for clip in clips}
    return {
        "added": sorted(name for clip, name in kept.items() if clip not in before),
        "removed": sorted(name for clip, name in before.items() if clip not in known),
    }


def data_lines(summary: dict[str, Any], most: int = 10) -> Iterator[tuple[str, str]]:
    """What became of the data: counts, what came and went, and what was left out with the reason."""
    if "data" not in summary:
        return
    data = summary["data"]
    yield "data", f"{data['kept']} of {data['clips']} clips kept, subjects: {data['subjects']}"
    lines = [("added", name) for name in data["added"]]
    lines += [("removed", f"{name}: its video is gone, or has changed") for name in data["removed"]]
    lines += [("rejected", f"{name}: {'; '.join(reasons)}") for name, reasons in data["rejected"].items()]
    for label in ("added", "removed", "rejected"):
        texts = [text for kind, text in lines if kind == label]
        yield from ((label, text) for text in texts[:most])
        if len(texts) > most:
            yield label, f"… and {len(texts) - most} more, see summary.json"
    if summary["quarantined"]:
        yield "set aside", f"{summary['quarantined']} files or clips, see the lines above or quarantine.parquet"


@contextmanager
def recorded(run: Run, flow: str) -> Iterator[None]:
    """Leave summary and tables behind also when a run fails: what was set aside before is often why."""
    try:
        yield
    except Exception as error:
        with suppress(OSError):  # a full disk: the first error is the one to tell
            write_summary(run, flow, status=FAILED, error=f"{type(error).__name__}: {error}")
        raise


def write_summary(run: Run, flow: str, **results: Any) -> dict[str, Any]:
    """Write summary.json, manifest.parquet and quarantine.parquet into the work folder; returns the summary."""
    quarantine = run.quarantined()
    summary = {
        "schema": 1,
        "flow": flow,
        "status": run.status,
        "recipe": run.recipe.name,
        "landmark_model": run.landmarker.model,
        "started": run.started,
        "seconds": round(time.monotonic() - run.begun, 1),
        "stages": [result.counts() for result in run.results],
        "quarantined": len(quarantine),
        **results,
    }
    _write_table(run.store, "quarantine.parquet", quarantine, ["stage", "clip", "id", "reason", "message"])
    manifest = [
        {
            "stage": result.stage,
            "id": outcome.id,
            "clip": outcome.name,
            "status": "done" if outcome.done else "quarantined",
            "reason": outcome.reason,
            "folder": outcome.folder,
            "row": json.dumps(outcome.row),
            "landmark_model": run.landmarker.model,
        }
        for result in run.results
        for outcome in result.outcomes
    ]
    columns = ["stage", "id", "clip", "status", "reason", "folder", "row", "landmark_model"]
    _write_table(run.store, "manifest.parquet", manifest, columns)
    run.store.write_json("summary.json", summary)
    return summary


def _write_table(store: Store, path: str, rows: list[dict[str, Any]], columns: list[str]) -> None:
    schema = pa.schema([(name, pa.string()) for name in columns], metadata={"schema_version": "1"})
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
    store.write_bytes(path, sink.getvalue())


def show(run: Run, summary: dict[str, Any]) -> None:
    """Log the summary and leave it as Prefect artifacts: the stages as a table, the quarantine as another."""
    from prefect.artifacts import create_markdown_artifact, create_table_artifact
    from prefect.logging import get_run_logger

    logger = get_run_logger()
    create_table_artifact(summary["stages"], key="stages", description="Stages of this run")
    quarantine = run.quarantined()
    if quarantine:
        create_table_artifact(quarantine, key="quarantine", description="What was set aside, and why")
        for row in quarantine:
            logger.warning("quarantined in %s: %s: %s: %s", row["stage"], row["clip"], row["reason"], row["message"])
    create_markdown_artifact(f"```json\n{json.dumps(summary, indent=1)}\n```", key="summary")
    logger.log(logging.INFO, "%s in %.0f s", summary["status"], summary["seconds"])
