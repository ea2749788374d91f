"""Prefect's side of the honest cache: where result records lie, and a serializer that checks what it reads.

Prefect takes any error while reading a result record as a cache miss. So a record whose outputs are gone is read with
an error, the stage runs again, and finds by its items' receipts what really has to be redone.

Prefect's own records name the serializer that reads them, and some of those run what they read. So nothing of Prefect's
is kept: `results/` holds stages' receipts alone, as JSON, and what is read there can be nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, Literal

from prefect.filesystems import WritableFileSystem
from prefect.serializers import Serializer

from tasks.engine.items import Outcome, Row
from tasks.engine.receipts import Receipts, StageReceipt
from tasks.engine.store import Store

RESULTS = "results"
_FAILED = b'{"failed": true}'  # in place of a receipt; never kept


@dataclass
class Checked(Generic[Row]):
    """A stage that asks for its record: what it is checked against, and what was found good.

    Prefect reads a record more than once; within one run of a stage the outputs are looked at once.
    """

    receipts: Receipts[Row]
    key: str
    good: tuple[StageReceipt, list[Outcome[Row]]] | None = None

    def check(self, receipt: StageReceipt) -> None:
        """ValueError unless every output is there."""
        if self.good is None or self.good[0] != receipt:
            self.good = receipt, self.receipts.verify(receipt, self.key)

    def outcomes(self, receipt: StageReceipt) -> list[Outcome[Row]]:
        """What the receipt of the stage's run names."""
        if self.good is not None and self.good[0] == receipt:
            return self.good[1]
        return self.receipts.outcomes(receipt)


_asking: ContextVar[Checked[Any]] = ContextVar("the stage that runs")


@contextmanager
def checked_against(receipts: Receipts[Row], key: str) -> Iterator[Checked[Row]]:
    """Within the body, records are checked against these receipts and this key of the stage."""
    checked = Checked(receipts, key)
    token = _asking.set(checked)
    try:
        yield checked
    finally:
        _asking.reset(token)


class ReceiptSerializer(Serializer):  # type: ignore[type-arg]  # its generic form cannot be registered
    """Stage receipts as JSON; `loads` raises unless every output is in the store of the stage that asks.

    Prefect tells it with each record, so it must not hold a place: stores are moved and copied.
    """

    type: Literal["fye-receipt"] = "fye-receipt"

    def dumps(self, obj: StageReceipt | BaseException) -> bytes:
        if isinstance(obj, BaseException):  # Prefect would keep what a failed stage raised
            return _FAILED
        return json.dumps(obj.model_dump(mode="json", by_alias=True), indent=1, sort_keys=True).encode()

    def loads(self, blob: bytes) -> StageReceipt:
        receipt = StageReceipt.model_validate_json(blob)
        _asking.get().check(receipt)
        return receipt


class ResultRecords(WritableFileSystem):
    """The `results` folder of a store: what Prefect writes is reduced to the receipt, and made a record when read."""

    url: str

    def read_path(self, path: str, _sync: bool = True) -> bytes:  # type: ignore[override]  # Prefect calls both kinds
        """A record around the receipt that lies there, of our serializer whatever it says."""
        receipt = Store(self.url).read_bytes(f"{RESULTS}/{path}").decode()
        return json.dumps(
            {"metadata": {"serializer": {"type": "fye-receipt"}, "storage_key": path}, "result": receipt}
        ).encode()

    def write_path(self, path: str, content: bytes, _sync: bool = True) -> None:  # type: ignore[override]
        """Keep the receipt in a record; nothing of a stage that failed."""
        receipt = json.loads(content)["result"].encode()
        if receipt != _FAILED:
            Store(self.url).write_bytes(f"{RESULTS}/{path}", receipt)

    def _resolve_path(self, path: str) -> None:
        """Prefect asks this of file systems whose records name their place: ours go by their key alone."""
