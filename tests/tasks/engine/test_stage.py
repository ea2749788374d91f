"""The caches of a stage are honest: what is missing is redone, what is there is not, and nothing else happens."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect._internal.result_records import ResultRecord, ResultRecordMetadata
from prefect.serializers import PickleSerializer

from fye_model.config import Runtime
from tasks.engine.contract import Resources
from tasks.engine.items import Item, Nothing, StageResult
from tasks.engine.receipts import Receipts
from tasks.engine.stage import Stage, largest_first
from tasks.engine.store import Store
from tasks.workspace.retry import reopen
from tests.tasks.support import LENGTH, LengthConfig, LengthRow, calls, text_items

pytestmark = pytest.mark.usefixtures("prefect_server")

LengthStage = Stage[LengthConfig, Nothing, LengthRow]
HERE = Runtime(workers=0)
TEXTS = {"a": "aaaa", "b": "bad", "c": "cccccc"}


def run(
    store: Store, items: list[Item[Nothing]], config: LengthConfig | None = None, stage: LengthStage = LENGTH
) -> StageResult[LengthRow]:
    @flow(name="test-stage")
    def test_flow() -> StageResult[LengthRow]:
        return stage.run(store, HERE, items, config or LengthConfig())

    return test_flow()


def test_a_second_run_is_cached_and_calls_no_worker(tmp_path: Path) -> None:
    store, items = Store(tmp_path / "store"), text_items(tmp_path, **TEXTS)
    first, second = run(store, items), run(store, items)
    assert (first.state, second.state) == ("Completed", "Cached")
    assert first.outcomes == second.outcomes and first.digest == second.digest
    assert second.counts().cached == 3 and second.counts().computed == 0
    assert [calls(tmp_path, name) for name in TEXTS] == [1, 1, 1]


def test_bad_data_end_in_quarantine_with_their_reason(tmp_path: Path) -> None:
    result = run(Store(tmp_path / "store"), text_items(tmp_path, **TEXTS))
    (bad,) = result.quarantined
    assert (bad.name, bad.reason) == ("b", "bad_text") and "write something else" in (bad.message or "")
    assert [outcome.row.length for outcome in result.done] == [4, 6]


@pytest.mark.parametrize("damage", ["delete", "truncate", "change", "receipt"])
def test_a_damaged_output_is_redone_and_nothing_else(tmp_path: Path, damage: str) -> None:
    store, items = Store(tmp_path / "store"), text_items(tmp_path, **TEXTS)
    before = run(store, items)
    folder = tmp_path / "store" / before.outcomes[0].folder
    victim = folder / ("receipt.json" if damage == "receipt" else "deep/length.txt")
    if damage == "truncate":
        victim.write_bytes(b"")
    elif damage == "change":
        victim.write_text("5")  # as long as before
    else:
        victim.unlink()
    after = run(store, items)
    assert after.state == "Completed" and after.fresh == 1
    assert [calls(tmp_path, name) for name in TEXTS] == [2, 1, 1]
    assert (folder / "deep" / "length.txt").read_text() == "4"
    assert after.digest == before.digest, "later stages see the same content and stay cached"


def test_a_copied_store_is_believed_by_its_content(tmp_path: Path) -> None:
    """A copy's files may be younger than their receipts."""
    items = text_items(tmp_path, **TEXTS)
    run(Store(tmp_path / "store"), items)
    shutil.copytree(tmp_path / "store", tmp_path / "copy", copy_function=shutil.copy)
    for path in (tmp_path / "copy" / "items").rglob("length.txt"):
        path.touch()
    assert run(Store(tmp_path / "copy"), items).state == "Cached"
    next((tmp_path / "copy" / "items").rglob("length.txt")).unlink()
    assert run(Store(tmp_path / "copy"), items).fresh == 1, "the original is whole, the copy is not"
    shutil.rmtree(tmp_path / "store")
    assert run(Store(tmp_path / "copy"), items).state == "Cached"
    assert not (tmp_path / "store").exists(), "a copy does not look at the place that it came from"


def test_records_and_receipts_of_an_earlier_version_count_as_missing(tmp_path: Path) -> None:
    """Written over this version's own, so that they lie where they would be believed."""
    store, items = Store(tmp_path / "store"), text_items(tmp_path, **TEXTS)
    first = run(store, items)
    root = tmp_path / "store"
    for path in root.rglob("receipt.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 1, "row": {"length": 4, "extra": "x"}}))
    (record,) = (root / "results").iterdir()
    receipt = json.loads(record.read_text())
    manifest = {"path": receipt.pop("manifest"), "size": receipt.pop("manifest_size")}
    record.write_text(json.dumps(receipt | {"schema": 1, "manifest": manifest}))
    second = run(store, items)
    assert (second.state, second.fresh, second.digest) == ("Completed", 3, first.digest)
    assert [calls(tmp_path, name) for name in TEXTS] == [2, 2, 2]
    assert run(store, items).state == "Cached"


class Planted:
    """Unpickling it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("where", ["local", "memory"])
def test_nothing_in_a_store_is_executed_whatever_its_record_says(
    tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    store = Store(tmp_path / "store" if where == "local" else request.getfixturevalue("memory_address"))
    items, mark = text_items(tmp_path, **TEXTS), tmp_path / "executed"
    run(store, items)
    (name,) = store.names("results")
    pickled = PickleSerializer().dumps(Planted(mark))
    PickleSerializer().loads(pickled)
    assert mark.exists(), "it does what it is for"
    mark.unlink()
    planted = [ResultRecord(result=pickled, metadata=ResultRecordMetadata(storage_key=name)).model_dump_json().encode()]
    planted += [pickled, pickle.dumps(Planted(mark)), b'"x", "metadata": {"serializer": {"type": "pickle"}}', b"[]"]
    for content in planted:
        store.write_bytes(f"results/{name}", content)
        again = run(store, items)
        assert (again.state, again.fresh) == ("Completed", 0) and not mark.exists()
        assert run(store, items).state == "Cached", "it was replaced"


def test_another_stage_s_true_record_is_not_believed(tmp_path: Path) -> None:
    store, items = Store(tmp_path / "store"), text_items(tmp_path, **TEXTS)
    run(store, items[:1])
    (first,) = store.names("results")
    run(store, items)
    (other,) = set(store.names("results")) - {first}
    store.write_bytes(f"results/{other}", store.read_bytes(f"results/{first}"))
    again = run(store, items)
    assert again.state == "Completed" and len(again.outcomes) == 3


def test_a_new_item_is_computed_and_the_others_are_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    run(store, text_items(tmp_path, **TEXTS))
    result = run(store, text_items(tmp_path, **TEXTS, d="dd"))
    assert (result.counts().cached, result.counts().computed) == (3, 1)


def test_configuration_version_and_content_are_in_the_key(tmp_path: Path) -> None:
    store, items = Store(tmp_path / "store"), text_items(tmp_path, a="aaaa")
    run(store, items)
    assert run(store, items, LengthConfig(unit=2)).fresh == 1
    assert run(store, items, stage=replace(LENGTH, version="2")).fresh == 1
    (tmp_path / "a.txt").write_text("other")
    assert run(store, text_items(tmp_path, a="")).fresh == 1
    assert run(store, items).state == "Cached"


def test_two_stages_with_equal_inputs_do_not_share_records(tmp_path: Path) -> None:
    store, items = Store(tmp_path / "store"), text_items(tmp_path, a="aaaa")
    run(store, items)
    assert run(store, items, stage=replace(LENGTH, name="test_other")).state == "Completed"


def test_an_unexpected_error_is_tried_again_in_the_next_run(tmp_path: Path) -> None:
    store, items = Store(tmp_path / "store"), text_items(tmp_path, a="aaaa", bug="bug")
    first, second = run(store, items), run(store, items)
    assert first.quarantined[0].reason == "unexpected_error" and "RuntimeError" in (first.quarantined[0].message or "")
    assert second.state == "Completed"
    assert (calls(tmp_path, "bug"), calls(tmp_path, "a")) == (2, 1)


def test_an_unexpected_error_of_a_whole_stage_fails_the_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug met this text"):
        run(
            Store(tmp_path / "s"),
            text_items(tmp_path, bug="bug"),
            stage=replace(LENGTH, name="t", resources=Resources(pooled=False)),
        )
    assert not (tmp_path / "s" / "results").exists(), "a failure leaves no record"


def test_a_worker_killed_in_the_middle_costs_only_its_item_a_second_try_in_this_run_or_the_next(tmp_path: Path) -> None:
    def in_a_pool(folder: Path, attempts: int) -> StageResult[LengthRow]:
        @flow(name="test-pool")
        def test_flow() -> StageResult[LengthRow]:
            items = text_items(folder, a="aaaa", k="kill", c="cccccc")
            runtime = Runtime(workers=2, item_attempts=attempts)
            return LENGTH.run(Store(folder / "store"), runtime, items, LengthConfig())

        return test_flow()

    result = in_a_pool(tmp_path, attempts=2)
    assert [outcome.row.length for outcome in result.outcomes] == [4, 4, 6]
    assert [calls(tmp_path, name) for name in "akc"] == [1, 2, 1]
    (tmp_path / "next").mkdir()
    first, second = (in_a_pool(tmp_path / "next", attempts=1) for _ in range(2))
    (killed,) = first.quarantined
    assert (killed.name, killed.reason) == ("k", "worker_died") and "in the next run" in (killed.message or "")
    assert (second.fresh, len(second.done)) == (1, 3)
    assert [calls(tmp_path / "next", name) for name in "akc"] == [1, 2, 1]
    assert second.digest == result.digest


@pytest.mark.parametrize("reason", ["timeout", "worker_died"])
def test_what_was_given_up_is_tried_again_when_asked_and_never_held_against_a_clip_for_a_death(
    tmp_path: Path, reason: str
) -> None:
    """A receipt of `worker_died` is what an earlier version left."""
    store, items = Store(tmp_path / "store"), text_items(tmp_path, **TEXTS)
    (key,) = LENGTH.keys(store, LengthConfig(), None, items[:1])
    Receipts(store, LENGTH).set_aside(items[0], key, reason, "it took longer than 600 s")
    if reason == "timeout":
        assert [outcome.name for outcome in run(store, items).quarantined] == ["a", "b"]
        assert run(store, items).state == "Cached"
        with pytest.raises(ValueError, match=r"'slow'; there is bad_text \(test_length\), timeout \(test_length\)"):
            reopen(store, "slow")
        assert [item.message for item in reopen(store, "timeout")] == ["it took longer than 600 s"]
    assert [outcome.name for outcome in run(store, items).quarantined] == ["b"]
    assert [calls(tmp_path, name) for name in TEXTS] == [1, 1, 1]


def test_a_store_in_memory_caches_the_same(memory_address: str, tmp_path: Path) -> None:
    store, items = Store(memory_address), text_items(tmp_path, **TEXTS)
    first, second = run(store, items), run(store, items)
    assert (first.state, second.state, first.digest) == ("Completed", "Cached", second.digest)
    store.delete(f"{first.outcomes[2].folder}/deep/length.txt")
    assert run(store, items).fresh == 1
    assert store.read_bytes(f"{first.outcomes[2].folder}/deep/length.txt") == b"6"


def test_what_reads_most_is_begun_first_and_equal_ones_in_order(tmp_path: Path) -> None:
    items = text_items(tmp_path, a="ab", b="abcdef", c="abcd", d="abcdef")
    assert largest_first(items, [0, 1, 2, 3]) == [1, 3, 2, 0]
    assert largest_first(items, [2, 0]) == [2, 0]
