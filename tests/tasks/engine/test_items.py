"""A manifest of many items is written and read in parts, and says what one of a few would."""

from __future__ import annotations

from pathlib import Path

from tasks.engine import items
from tasks.engine.items import Outcome, read_manifest, write_manifest
from tasks.engine.store import Store
from tests.tasks.support import LengthRow


def test_outcomes_of_several_parts_come_back_in_their_order(tmp_path: Path) -> None:
    store, sha256 = Store(tmp_path), "0" * 64
    made: list[Outcome[LengthRow]] = [
        Outcome(f"{n}", f"clip {n}", sha256, f"items/length/{n}", {"a": (n, sha256)}, LengthRow(length=n), seconds=0.5)
        for n in range(2 * items._AT_ONCE + 1)
    ]
    made[3] = Outcome("3", "clip 3", sha256, "items/length/3", {}, None, "bad_text", "it is bad")
    for count in (0, 1, items._AT_ONCE, len(made)):
        size = write_manifest(store, "a.parquet", made[:count])
        assert size == store.size("a.parquet") == write_manifest(store, "b.parquet", made[:count])
        assert read_manifest(store, "a.parquet", LengthRow) == made[:count]
        assert store.read_bytes("a.parquet") == store.read_bytes("b.parquet")
