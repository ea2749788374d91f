"""Which model is in use: a pointer that nobody loses, with a way back, on a disk and on stores without locks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.store import FileRef, Store, digest
from tasks.workspace.promoted import (
    PROMOTED,
    OfferedModel,
    Superseded,
    current_model,
    files_of,
    offer,
    promote,
    read_promotions,
    roll_back,
)


def model(store: Store, name: str) -> OfferedModel:
    """A model of one file in the store, and the checkpoint that it is made of."""
    files = {}
    for path in ("model/model_index.json", "init/meta.json"):
        place = f"items/select/{name}/{path}"
        store.write_bytes(place, name.encode())
        files[path] = FileRef(place, digest(name), len(name))
    return OfferedModel(trained="now", recipe="debug", checkpoint=name, landmark_model="m:0", files=files_of(files))


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path if request.param == "disk" else f"memory://{uuid.uuid4().hex}")


def test_the_pointer_moves_with_its_history_and_goes_back_as_often_as_it_went_on(store: Store) -> None:
    assert current_model(store) is None
    a, b, c = (offer(store, model(store, name)) for name in "abc")
    assert set(read_promotions(store).models) == {c}, "what was never in use is not kept"
    for name in "ab":
        promote(store, offer(store, model(store, name)), f"because of {name}")
    promote(store, offer(store, model(store, "c")), "it is better", expected=b)
    assert [event.before for event in read_promotions(store).events] == [None, a, b]
    assert roll_back(store, "the eyes").id == b and roll_back(store, "again").id == a
    assert read_promotions(store).taken_back == {c: "the eyes", b: "again"}
    with pytest.raises(ValueError, match=r"nothing in .* to go back to"):
        roll_back(store, "further")
    promote(store, c, "after all")
    assert read_promotions(store).taken_back == {b: "again"}
    chosen = current_model(store)
    assert chosen is not None and chosen.id == c and chosen.folder == "items/select/c/model"
    assert set(chosen.refs("init/")) == {"init/meta.json"}
    if store.local_root is not None:
        assert (store.local_root / "promoted" / "model_index.json").read_text() == "c"


def test_a_decision_against_a_model_that_is_no_longer_in_use_is_refused(store: Store) -> None:
    a = offer(store, model(store, "a"))
    promote(store, a, "first", expected=None)
    b = offer(store, model(store, "b"))
    with pytest.raises(Superseded, match=r"was promoted in .* meanwhile"):
        promote(store, b, "compared with nothing", expected=None)
    promote(store, b, "compared with a", expected=a)
    promote(store, b, "again")
    assert len(read_promotions(store).events) == 2, "what is in use already makes no event"


def test_what_is_gone_damaged_or_unknown_is_named_and_nothing_moves(store: Store) -> None:
    with pytest.raises(ValueError, match="has no model to promote: run fye retrain"):
        promote(store, None, "")
    a = offer(store, model(store, "a"))
    with pytest.raises(ValueError, match=f"no model 'other' .* there is {a}"):
        promote(store, "other", "")
    store.delete("items/select/a/model/model_index.json")
    with pytest.raises(ValueError, match="is gone or damaged"):
        promote(store, a, "")
    assert current_model(store) is None
    store.write_bytes(
        PROMOTED, b'{"schema": 1, "models": {"x": {"files": {"model/model_index.json": ["../../x", "", 1]}}}}'
    )
    with pytest.raises(ValueError, match=r"promoted.json is damaged"):
        current_model(store)


PROMOTER = """
import sys
from tasks.engine.store import Store
from tasks.workspace.promoted import offer, promote
from tests.tasks.workspace.test_promoted import model
store = Store(sys.argv[1])
for number in range(8):
    mine = model(store, f"{sys.argv[2]}{number}")
    offer(store, mine)
    promote(store, mine, mine.checkpoint)
"""


def test_two_processes_that_promote_at_once_lose_nothing(tmp_path: Path) -> None:
    words = [sys.executable, "-c", PROMOTER, str(tmp_path)]
    processes = [subprocess.Popen([*words, name]) for name in "ab"]
    assert [process.wait() for process in processes] == [0, 0]
    events = read_promotions(Store(tmp_path)).events
    assert sorted(event.why for event in events) == [f"{name}{number}" for name in "ab" for number in range(8)]
    assert [event.before for event in events[1:]] == [event.model for event in events[:-1]], "one after the other"


def test_two_writers_on_a_store_without_locks_lose_nothing() -> None:
    url = f"memory://{uuid.uuid4().hex}"

    def work(name: str) -> None:
        store = Store(url)
        for number in range(3):
            mine = model(store, f"{name}{number}")
            offer(store, mine)
            promote(store, mine, mine.checkpoint)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_promotions(Store(url)).events) == 6


def test_what_is_in_use_is_told_to_scripts_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flows.cli import app

    def told() -> dict[str, Any]:
        assert app(["promoted", "--work", str(tmp_path), "--json"], result_action="return_value") == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    store = Store(tmp_path)
    first, second = (model(store, name) for name in ("one", "two"))
    assert told() == {"in_use": None, "folder": None, "trained_last": None, "events": []}
    promote(store, offer(store, first), "the first")
    offer(store, second)
    found = told()
    assert (found["in_use"], found["trained_last"]) == (first.id, second.id)
    assert Path(found["folder"]).is_dir() and [event["why"] for event in found["events"]] == ["the first"]
