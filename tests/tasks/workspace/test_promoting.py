"""A trained model comes into use by a judge's word and a person's, against the model that is in use at that moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fye_model.config import Runtime
from tasks.engine.store import FileRef, Store
from tasks.results.promotion import Decision
from tasks.workspace.promoted import (
    OfferedModel,
    Superseded,
    current_model,
    files_of,
    promote,
    read_promotions,
    roll_back,
)
from tasks.workspace.promoting import continued, promote_if_better
from tasks.workspace.run import open_run
from tasks.workspace.summary import PromotionLine
from tests.tasks.workspace.test_promoted import model

BETTER, WORSE = Decision(True, "it is better", "the rule"), Decision(False, "it is worse", "the rule")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def overtaken(store: Store, times: int) -> Callable[[OfferedModel | None], Decision]:
    """A judge during whose first few judgements somebody else promotes a model of their own."""
    others = iter(range(times))

    def judge(before: OfferedModel | None) -> Decision:
        for number in others:
            promote(store, model(store, f"other {number}"), "by hand")
            break
        return Decision(True, f"better than {before.checkpoint if before else None}", "the rule")

    return judge


def test_it_is_judged_again_against_the_model_that_came_into_use_meanwhile(store: Store) -> None:
    line = promote_if_better(store, model(store, "mine"), overtaken(store, 2))
    assert line.promoted and line.why == "better than other 1" and line.before == model(store, "other 1").id
    assert [event.why for event in read_promotions(store).events] == ["by hand", "by hand", "better than other 1"]


def test_it_gives_up_where_others_are_faster_each_time(store: Store) -> None:
    with pytest.raises(Superseded, match="changed 3 times meanwhile; run it again"):
        promote_if_better(store, model(store, "mine"), overtaken(store, 3))
    current = current_model(store)
    assert current is not None and current.checkpoint == "other 2"


def test_a_refusal_of_the_judge_or_of_a_person_leaves_the_pointer_and_the_offer(store: Store) -> None:
    asked: list[str] = []

    def refuse(line: PromotionLine) -> PromotionLine:
        asked.append(line.model)
        return line.model_copy(update={"promoted": False, "why": f"{line.why}; a person refused"})

    mine = model(store, "mine")
    assert promote_if_better(store, mine, lambda before: WORSE, refuse).why == "it is worse" and asked == []
    line = promote_if_better(store, mine, lambda before: BETTER, refuse)
    assert (line.promoted, line.why, asked) == (False, "it is better; a person refused", [mine.id])
    assert current_model(store) is None and read_promotions(store).offered == mine.id


def test_what_is_in_use_or_was_taken_back_is_not_judged(store: Store) -> None:
    def judge(before: OfferedModel | None) -> Decision:
        raise AssertionError("a judgement costs an evaluation")

    promote(store, model(store, "first"), "by hand")
    mine = model(store, "mine")
    promote(store, mine, "by hand")
    line = promote_if_better(store, mine, judge)
    assert line.promoted and line.why == "it is in use already" and len(read_promotions(store).events) == 2
    roll_back(store, "the mouth")
    line = promote_if_better(store, mine, judge)
    assert not line.promoted and "somebody went back from it: the mouth" in line.why


@pytest.mark.usefixtures("landmarker_asset")
def test_training_goes_on_in_the_latent_space_of_the_earlier_model(store: Store) -> None:
    places = {}
    for name in ("vae/config.json", "vae/weights.safetensors", "image_encoder/config.json"):
        store.write_bytes(f"items/encoders/key/{name}", name.encode())
        places[name] = FileRef(f"items/encoders/key/{name}", "", len(name))
    last = model(store, "last")
    last = last.model_copy(update={"files": last.files | files_of(places)})
    run = open_run(store.url, "debug", [], Runtime())
    recipe = continued(run, last).recipe
    assert run.recipe.autoencoder.path is None
    assert recipe.autoencoder.path is not None and recipe.image_encoder.path is not None
    assert (recipe.autoencoder.path / "weights.safetensors").read_text() == "vae/weights.safetensors"
    assert (recipe.image_encoder.path / "config.json").read_text() == "image_encoder/config.json"
    rest = {"autoencoder": run.recipe.autoencoder, "image_encoder": run.recipe.image_encoder}
    assert recipe.model_copy(update=rest) == run.recipe
