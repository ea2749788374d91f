"""From a trained model to the one in use: offered, judged against that, a person asked where wanted, and pointed to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.engine.items import Outcome
from tasks.engine.store import Store
from tasks.results.promotion import Decision
from tasks.workspace.promoted import OfferedModel, Superseded, current_model, offer, promote, read_promotions
from tasks.workspace.run import Run
from tasks.workspace.summary import PromotionLine

Judge = Callable[[OfferedModel | None], Decision]  # of the model in use, if there is one
Ask = Callable[[PromotionLine], PromotionLine]
_TRIES = 3  # to decide, when another model is promoted meanwhile


def promote_if_better(store: Store, offered: OfferedModel, judge: Judge, ask: Ask | None = None) -> PromotionLine:
    """Offer a model, and point to it where the judge says so, and a person, if asked.

    A model from which somebody went back is not judged again. Raises Superseded where the model in use changes each
    time before the pointer moves.
    """
    offer(store, offered)
    for _ in range(_TRIES):
        before = current_model(store)
        if before is not None and before.id == offered.id:
            return PromotionLine(
                model=offered.id, promoted=True, before=before.id, why="it is in use already", rule="none was needed"
            )
        if (why := read_promotions(store).taken_back.get(offered.id)) is not None:
            decision = Decision(False, f"it was in use, and somebody went back from it: {why}", "only by hand")
        else:
            decision = judge(before)
        line = PromotionLine(
            model=offered.id,
            promoted=decision.promote,
            before=None if before is None else before.id,
            why=decision.why,
            rule=decision.rule,
        )
        if decision.promote and ask is not None:
            line = ask(line)
        if not line.promoted:
            return line
        try:
            promote(store, offered, line.why, expected=line.before)
        except Superseded:
            continue
        return line
    raise Superseded(f"the model in use in {store.url} changed {_TRIES} times meanwhile; run it again")


def continued(run: Run, last: OfferedModel) -> Run:
    """The run with the encoders of an earlier model, in whose latent space its weights are at home."""
    vae, image_encoder = (run.store.local_folder(last.refs(f"{part}/")) / part for part in ("vae", "image_encoder"))
    recipe = run.recipe.model_copy(
        update={
            "autoencoder": run.recipe.autoencoder.model_copy(update={"path": vae}),
            "image_encoder": run.recipe.image_encoder.model_copy(update={"path": image_encoder}),
        }
    )
    return run.with_recipe(recipe)


def evaluation_folder(store: Store, evaluation: Outcome[Any]) -> Path:
    """The folder of an evaluation on this machine, with what a comparison reads."""
    read = {"metrics.json": evaluation.ref("metrics.json")}
    return store.local_folder(read | evaluation.refs("records/") | evaluation.refs("cross/records/"))
