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

from tasks.engine.stage import verify_receipt
from tasks.engine.store import Store, digest

_asking: ContextVar[Store] = ContextVar("store of the stage that runs")


@contextmanager
def receipts_of(store: Store) -> Iterator[None]:
    """Within the body, records are checked against this store."""
    token = _asking.set(store)
    try:
        yield
    finally:
        _asking.reset(token)


class ReceiptSerializer(Serializer):  # type: ignore[type-arg]  # its generic form cannot be registered
    """Stage receipts as JSON; `loads` raises unless every output is in the store of the stage that asks.

    Prefect keeps a serializer with each record, so it must not hold a place: stores are moved and copied.
    """

    type: Literal["fye-receipt"] = "fye-receipt"

    def dumps(self, obj: dict[str, Any] | BaseException) -> bytes:
        if isinstance(obj, BaseException):  # Prefect keeps what a failed stage raised; it is no receipt when read
            obj = {"failed": f"{type(obj).__name__}: {obj}"}
        return json.dumps(obj, indent=1, sort_keys=True).encode()

    def loads(self, blob: bytes) -> dict[str, Any]:
        receipt: dict[str, Any] = json.loads(blob)
        verify_receipt(_asking.get(), receipt)
        return receipt


def result_storage(store: Store) -> Path | WritableFileSystem:
    """The store's own `results` folder: a path, or for a remote root a Prefect block over the same fsspec address."""
    if store.local_root is not None:
        return store.local_root / "results"
    block = RemoteFileSystem(basepath=f"{store.url.rstrip('/')}/results")
    block.save(f"fye-results-{digest(store.url)[:12]}", overwrite=True)
    return block
