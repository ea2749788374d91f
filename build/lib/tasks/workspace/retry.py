"""Items that were set aside for good, and how they are tried again: a reason that is gone is no reason any more."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.parquet as pq

from tasks.engine.receipts import ItemReceipt
from tasks.engine.store import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SetAside:
    """An item with a receipt that says why it was set aside, `path` in the store."""

    stage: str
    name: str
    reason: str
    message: str
    path: str


def set_aside(store: Store) -> Iterator[SetAside]:
    """Every item of a work folder that was set aside for good, stage by stage."""
    names = _names(store)
    for stage in store.names("items"):
        for folder in store.names(f"items/{stage}"):
            path = f"items/{stage}/{folder}/receipt.json"
            try:
                receipt = ItemReceipt.model_validate_json(store.read_bytes(path))
            except (OSError, ValueError):
                continue  # no receipt: the next run makes this one anyway
            if receipt.reason is not None:
                name = names.get(receipt.item, receipt.item)
                yield SetAside(receipt.stage, name, receipt.reason, receipt.message or "", path)


def reopen(store: Store, reason: str, stage: str | None = None) -> list[SetAside]:
    """Forget that items were set aside for this reason: the next run works on them. Returns them.

    Raises ValueError that lists the reasons there are when nothing was set aside for this one.
    """
    everything = list(set_aside(store))
    chosen = [item for item in everything if item.reason == reason and stage in (None, item.stage)]
    if not chosen:
        there = sorted({f"{item.reason} ({item.stage})" for item in everything})
        raise ValueError(
            f"nothing in {store.url} is set aside for {reason!r}{f' in {stage}' if stage else ''}; "
            + (f"there is {', '.join(there)}" if there else "nothing is set aside for good")
        )
    for item in chosen:
        store.delete(item.path)
    return chosen


def _names(store: Store) -> dict[str, str]:
    """Items' names by their ids, as the last run knew them."""
    try:
        table = pq.read_table(io.BytesIO(store.read_bytes("quarantine.parquet")), columns=["item", "name"])
    except (OSError, ValueError):
        return {}
    return dict(zip(table["item"].to_pylist(), table["name"].to_pylist(), strict=True))
