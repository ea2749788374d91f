"""The flows' own wiring without Prefect and Ray."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.engine.ahead import Plan
from tasks.engine.items import Item, Outcome, StageResult
from tasks.engine.stage import AnyStage, _Job, _work
from tasks.workspace.run import Run


class Plain(Run):
    """A run of the stages' own receipts and work, in this process."""

    def stage(self, stage: AnyStage, items: Sequence[Item[Any]], plan: Plan | None = None) -> StageResult[Any]:
        job = _Job(
            stage, self.store, self.runtime, list(items), stage.settings(self.recipe), self.landmarker, self.device
        )
        pairs = zip(job.items, job.keys, strict=True)
        found: dict[int, Outcome[Any]] = {
            place: outcome
            for place, (item, key) in enumerate(pairs)
            if (outcome := job.receipts.find(item, key)) is not None
        }
        missing = [place for place in range(len(items)) if place not in found]
        made = {missing[position]: outcome for position, outcome in _work(job, missing)}
        outcomes = [(found | made)[place] for place in range(len(items))]
        result = StageResult(stage.name, outcomes, job.key, 0.0, 0.0, len(missing), "Completed")
        self.results.append(result)
        return result
