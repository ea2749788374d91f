"""Work folders that another version wrote: nothing in them is believed, and whoever runs there is told so."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import JsonValue

from fye_model.version import this_software
from tasks.engine.receipts import RECEIPT_SCHEMA
from tasks.engine.store import Store
from tasks.workspace.summary import SUMMARY, SUMMARY_SCHEMA


def written_by_another(store: Store) -> str | None:
    """One line that says who wrote this work folder and what follows; None for a new one, and for one of this version.

    A summary of this version ends the matter: a run of it has been to its end here, and said so at its beginning.
    """
    summary = _read(store, SUMMARY)
    if summary.get("schema") == SUMMARY_SCHEMA:
        return None
    for schema in _receipt_schemas(store):
        if schema != RECEIPT_SCHEMA:
            when = "an earlier" if isinstance(schema, int) and schema < RECEIPT_SCHEMA else "another"
            writer = summary.get("software", f"{when} version")
            return (
                f"{store.url} was written by {writer} (receipts of schema {schema}); this is {this_software()} (schema "
                f"{RECEIPT_SCHEMA}), which cannot take its outputs over: everything is made again. The old ones stay; "
                "to free their space, delete items, stages and results in it before a run"
            )
    return None


def _receipt_schemas(store: Store) -> Iterator[object]:
    """The schema of one receipt of each stage."""
    for stage in store.names("items"):
        for item in store.names(f"items/{stage}"):
            receipt = _read(store, f"items/{stage}/{item}/receipt.json")
            if receipt:
                yield receipt.get("schema")
                break


def _read(store: Store, path: str) -> dict[str, JsonValue]:
    """A JSON object of the store; empty where there is none, or what is there is damaged."""
    try:
        found = store.read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
