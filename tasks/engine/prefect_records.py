"""Prefect's side of the honest cache: where result records lie, and a serializer that checks what it reads.

Prefect takes any error while reading a record as a cache miss. So a record whose outputs are gone is read with an
error, the stage runs again, and finds by its items' receipts what really has to be redone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

from prefect.filesystems import RemoteFileSystem, WritableFileSystem
from prefect.serializers import Serializer

from tasks.engine.receipts import Receipts, StageReceipt
from tasks.engine.store import Store, digest

_asking: ContextVar[Receipts[Any]] = ContextVar("receipts of the stage that runs")


@contextmanager
def checked_against(receipts: Receipts[Any]) -> Iterator[None]:
    """Within the body, records are checked against these receipts."""
    token = _asking.set(receipts)
    try:
        yield
    finally:
        _asking.reset(token)


class ReceiptSerializer(Serializer):  # type: ignore[type-arg]  # its generic form cannot be registered
    """Stage receipts as JSON; `loads` raises unless every output is in the store of the stage that asks.

    Prefect keeps a serializer with each record, so it must not hold a place: stores are moved and copied.
    """

    type: Literal["fye-receipt"] = "fye-receipt"

    def dumps(self, obj: StageReceipt | BaseException) -> bytes:
        if isinstance(obj, BaseException):  # Prefect keeps what a failed stage raised; it is no receipt when read
            return json.dumps({"failed": f"{type(obj).__name__}: {obj}"}).encode()
        return json.dumps(obj.model_dump(mode="json", by_alias=True), indent=1, sort_keys=True).encode()

    def loads(self, blob: bytes) -> StageReceipt:
        receipt = StageReceipt.model_validate_json(blob)
        _asking.get().verify(receipt)
        return receipt


def result_storage(store: Store) -> Path | WritableFileSystem:
    """The store's own `results` folder: a path, or for a remote root a Prefect block over the same fsspec address."""
    if store.local_root is not None:
        return store.local_root / "results"
    block = RemoteFileSystem(basepath=f"{store.url.rstrip('/')}/results")
    block.save(f"fye-results-{digest(store.url)[:12]}", overwrite=True)
    return block
