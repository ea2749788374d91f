"""What an ablation hands to people: every variant's evaluation, their table, and their pictures side by side."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.engine.items import Outcome, StageResult
from tasks.results.ablation import Trained, ablation_table
from tasks.results.ablation_text import TABLE_FILES, write_ablation
from tasks.results.report_pictures import data_uri
from tasks.results.runs import read_evaluation
from tasks.results.variant_pictures import variants_sheet
from tasks.workspace.publish import place_of
from tasks.workspace.run import Run
from tasks.workspace.summary import Results
from tasks.workspace.variants import Variant

ABLATION_FOLDER = "ablation"
_MOST_PICTURES = 4  # of clips, and of pairs


@dataclass(frozen=True)
class Finished:
    """One variant and seed: its selected checkpoint, its evaluation, and the results of its stages."""

    variant: Variant
    checkpoint: str
    evaluation: Outcome[Any]
    stages: tuple[StageResult[Any], ...]

    @property
    def folder(self) -> str:
        """Where its evaluation is put, below the ablation's folder."""
        return f"{self.variant.ablation.name}/seed-{self.variant.seed}"


def publish_ablation(run: Run, finished: Sequence[Finished]) -> Results:
    """Put evaluations, tables and pictures into the work folder's `ablation/`, the tables last."""
    store = run.store
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for one in finished:
            for name, ref in one.evaluation.refs("").items():
                path = root / one.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(store.read_bytes(ref.path))
        trained = [_trained(one, root / one.folder) for one in finished]
        metrics = store.read_json(finished[0].evaluation.ref("metrics.json").path)
        people, left_out = metrics["protocol"]["people"], metrics["cross"].get("left_out")
        found = ablation_table(run.recipe.name, trained, people, left_out)
        write_ablation(found, root, _pictures(finished, root))
        files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        for name in sorted(files, key=lambda name: name in TABLE_FILES):
            store.write_bytes(f"{ABLATION_FOLDER}/{name}", (root / name).read_bytes())
    names = {"table": "table.html", "markdown": "table.md", "numbers": "ablation.json"}
    return Results(outputs={label: place_of(store, f"{ABLATION_FOLDER}/{name}") for label, name in names.items()})


def _trained(one: Finished, folder: Path) -> Trained:
    stages = {stage.stage: "computed" if stage.fresh else "cached" for stage in one.stages}
    return Trained(one.variant.ablation, one.variant.seed, read_evaluation(folder), one.checkpoint, stages)


def _pictures(finished: Sequence[Finished], root: Path) -> list[tuple[str, str]]:
    """Title and PNG (as a data address) of the first seed's variants, for the first clips and pairs."""
    first = [one for one in finished if one.variant.seed == finished[0].variant.seed]
    shown = []
    for folder, third in (("videos", "truth"), ("cross/videos", "driver")):
        names = sorted(path.name for path in (root / first[0].folder / folder).glob("*.mp4"))
        for name in names[:_MOST_PICTURES]:
            sheet = variants_sheet(
                {one.variant.ablation.label: root / one.folder / folder / name for one in first}, third
            )
            buffer = io.BytesIO()
            sheet.save(buffer, "PNG")
            title = f"{Path(name).stem}: reference, {third}, and each variant's result"
            shown.append((title, data_uri(buffer.getvalue(), "image/png")))
    return shown
