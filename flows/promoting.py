"""From a trained model to the one in use: compared with that, by the recipe's rule, and a person asked where wanted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect.events import emit_event
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run

from flows.wiring import Model, evaluate_model
from tasks.engine.items import Outcome, StageResult
from tasks.engine.store import Store
from tasks.evaluate import EvaluateRow
from tasks.results.comparison import compare_runs
from tasks.results.promotion import Decision, decide
from tasks.results.runs import read_evaluation
from tasks.train import checkpoint_files
from tasks.workspace.promoted import OfferedModel, Superseded, current_model, files_of, offer, promote, read_promotions
from tasks.workspace.run import Run
from tasks.workspace.summary import PromotionLine, Results

EVENTS = "fye.promotion"  # of Prefect's: .done, .refused, .waiting
_TRIES = 3  # to decide, when another model is promoted meanwhile


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


def continued(run: Run, last: OfferedModel) -> Run:
    """The run with the encoders of an earlier model, in whose latent space its weights are at home."""
    encoders = {part: _local_folder(run.store, last, part) for part in ("vae", "image_encoder")}
    recipe = run.recipe.model_copy(
        update={
            "autoencoder": run.recipe.autoencoder.model_copy(update={"path": encoders["vae"]}),
            "image_encoder": run.recipe.image_encoder.model_copy(update={"path": encoders["image_encoder"]}),
        }
    )
    return run.with_recipe(recipe)


def promote_if_better(
    run: Run, model: Model, evaluation: StageResult[EvaluateRow], offered: OfferedModel, ask: bool
) -> PromotionLine:
    """Offer a model, hold it against the one in use, and point to it where the rule says so, and a person, if asked.

    The model in use is evaluated on the same clips of today. In a run of a deployment, asking suspends the run until
    somebody answers on Prefect's page; elsewhere the model waits for `fye promote`.
    """
    offer(run.store, offered)
    for _ in range(_TRIES):
        before = current_model(run.store)
        if before is not None and before.id == offered.id:
            return PromotionLine(
                model=offered.id, promoted=True, before=before.id, why="it is in use already", rule="none was needed"
            )
        if (why := read_promotions(run.store).taken_back.get(offered.id)) is not None:
            decision = Decision(False, f"it was in use, and somebody went back from it: {why}", "only by hand")
        else:
            decision = _judged(run, model, evaluation, before)
        line = PromotionLine(
            model=offered.id,
            promoted=decision.promote,
            before=None if before is None else before.id,
            why=decision.why,
            rule=decision.rule,
        )
        if decision.promote and ask:
            line = _asked(run, line)
        if not line.promoted:
            _tell(run, "waiting" if line.waiting else "refused", line)
            return line
        try:
            promote(run.store, offered, line.why, expected=line.before)
        except Superseded:
            continue
        _tell(run, "done", line)
        return line
    raise Superseded(f"the model in use in {run.store.url} changed {_TRIES} times meanwhile; run it again")


def _judged(run: Run, model: Model, evaluation: StageResult[EvaluateRow], before: OfferedModel | None) -> Decision:
    rule, ours = run.recipe.promotion, _local_evaluation(run.store, evaluation.only)
    if before is None:
        found = compare_runs(read_evaluation(ours), read_evaluation(ours, "baseline"))
        return decide(found, rule, "repeating the reference (no model is in use)")
    theirs = evaluate_model(run, model.clips, before.refs("model/"))
    found = compare_runs(read_evaluation(ours), read_evaluation(_local_evaluation(run.store, theirs.only)))
    return decide(found, rule, f"the model in use ({before.id})")


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
    payload: dict[str, Any] = {"work": run.store.url, "recipe": run.recipe.name, **line.model_dump(mode="json")}
    emit_event(
        f"{EVENTS}.{what}",
        resource={"prefect.resource.id": f"fye.work.{run.store.url}", "prefect.resource.name": run.store.url},
        payload=payload,
    )


def _local_evaluation(store: Store, outcome: Outcome[Any]) -> Path:
    """The folder of an evaluation on this machine, with what a comparison reads."""
    wanted = ("records/", "cross/records/")
    for name, ref in outcome.refs("").items():
        if name.startswith(wanted):
            store.local_path(ref.path)
    return store.local_path(outcome.ref("metrics.json").path).parent


def _local_folder(store: Store, model: OfferedModel, part: str) -> Path:
    refs = model.refs(f"{part}/")
    paths = {name: store.local_path(ref.path) for name, ref in refs.items()}
    return paths[f"{part}/config.json"].parent
