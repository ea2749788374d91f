"""A trained model offered for use, compared with the one in use, and a person asked on Prefect's page where wanted."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from prefect.events import emit_event
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run

from flows.wiring import Model, evaluate_model
from tasks.engine.items import StageResult
from tasks.evaluate import EvaluateRow
from tasks.results.promotion import Decision, judged
from tasks.train import checkpoint_files
from tasks.workspace.promoted import OfferedModel, files_of
from tasks.workspace.promoting import evaluation_folder, promote_if_better
from tasks.workspace.run import Run
from tasks.workspace.summary import PromotionLine, Results

EVENTS = "fye.promotion"  # of Prefect's: .done, .refused, .waiting


class Approval(RunInput):
    """What a person answers on Prefect's page."""

    promote: bool = False
    note: str = ""


def offered_model(run: Run, model: Model, results: Results) -> OfferedModel:
    """The selected model with what training can go on from."""
    winner = str(results.selected_checkpoint)
    made_of = checkpoint_files(model.stage2, winner.rsplit("/", 1)[-1], "init")
    return OfferedModel(
        trained=datetime.now(UTC).isoformat(timespec="seconds"),
        recipe=run.recipe.name,
        checkpoint=winner,
        landmark_model=run.landmarker.model,
        files=files_of(model.files, model.encoders, made_of),
    )


def settle_promotion(
    run: Run, model: Model, evaluation: StageResult[EvaluateRow], offered: OfferedModel, ask: bool
) -> PromotionLine:
    """Put a model to use if it is better than the one in use, which is evaluated on the same clips of today.

    In a run of a deployment, asking suspends the run until somebody answers on Prefect's page; elsewhere the model
    waits for `fye promote`.
    """

    def judge(before: OfferedModel | None) -> Decision:
        in_use = None
        if before is not None:
            theirs = evaluate_model(run, model.clips, before.refs("model/"))
            in_use = before.id, evaluation_folder(run.store, theirs.only)
        return judged(evaluation_folder(run.store, evaluation.only), in_use, run.recipe.promotion)

    line = promote_if_better(run.store, offered, judge, partial(_asked, run) if ask else None)
    if line.before != line.model:  # else it was in use already
        _tell(run, "done" if line.promoted else "waiting" if line.waiting else "refused", line)
    return line


def _asked(run: Run, line: PromotionLine) -> PromotionLine:
    """What a person says, who is asked once for each model and the one that it would replace."""
    if deployment.id is None:
        how = f"{line.why}; it waits for a person: fye promote --work {run.store.url} --model {line.model}"
        return line.model_copy(update={"promoted": False, "waiting": True, "why": how})
    if flow_run.run_count == 1:  # it begins again when the answer is there
        _tell(run, "waiting", line)
    text = f"Promote model **{line.model}** in `{run.store.url}`, in place of {line.before or 'none'}? {line.why}."
    answer = suspend_flow_run(
        wait_for_input=Approval.with_initial_data(description=text), key=f"promote-{line.model}-{line.before}"
    )
    said = f"a person {'agreed' if answer.promote else 'refused'}{f': {answer.note}' if answer.note else ''}"
    return line.model_copy(update={"promoted": answer.promote, "why": f"{line.why}; {said}"})


def _tell(run: Run, what: str, line: PromotionLine) -> None:
    """An event that automations answer (`fye notify`)."""
    emit_event(
        f"{EVENTS}.{what}",
        resource={"prefect.resource.id": f"fye.work.{run.store.url}", "prefect.resource.name": run.store.url},
        payload={"work": run.store.url, "recipe": run.recipe.name, **line.model_dump(mode="json")},
    )
