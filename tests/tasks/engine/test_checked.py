"""A stage's record is believed after its outputs were found: once in a run of the stage, and anew in the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from fye_model.config import Runtime
from tasks.engine.prefect_records import Checked, ReceiptSerializer, checked_against
from tasks.engine.receipts import Receipts, stage_key
from tasks.engine.stage import Context, item_handler
from tasks.engine.store import Store
from tests.tasks.support import LENGTH, LengthConfig, LengthWorker, text_items


def test_outputs_are_looked_at_once_in_a_run_and_again_in_the_next(tmp_path: Path) -> None:
    store, receipts = Store(tmp_path / "work"), Receipts(Store(tmp_path / "work"), LENGTH)
    items = text_items(tmp_path, a="one", b="three")
    keys = LENGTH.keys(store, LengthConfig(), None, items)
    with item_handler(LENGTH, store.url, lambda: LengthWorker(LengthConfig(), Context(Runtime(), "cpu"))) as handle:
        outcomes = [handle(job) for job in zip(items, keys, strict=True)]
    key = stage_key(LENGTH, zip((item.name for item in items), keys, strict=True))
    receipt = receipts.write_stage(key, outcomes, fresh=2)
    blob = ReceiptSerializer().dumps(receipt)
    with checked_against(receipts, key) as checked:
        assert ReceiptSerializer().loads(blob) == receipt
        first = checked.outcomes(receipt)
        assert [outcome.row.length for outcome in first] == [3, 5]
        ReceiptSerializer().loads(blob)
        assert checked.outcomes(receipt) is first, "what was just found is not read again"
    store.delete(f"{outcomes[1].folder}/deep/length.txt")
    with checked_against(receipts, key), pytest.raises(ValueError, match="an output of b is missing or damaged"):
        ReceiptSerializer().loads(blob)
    with pytest.raises(ValueError, match="another version, stage or key"):
        Checked(receipts, "another key").check(receipt)
