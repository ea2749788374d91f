"""The store never shows half-written files, never leaves its root, and works on any fsspec address."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from fye_model.files import json_list_digest
from tasks.engine.store import FileRef, HashMemory, Store, digest, file_digest, folder_files


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path / "root" if request.param == "local" else request.getfixturevalue("memory_address"))


def test_what_is_written_is_read_back(store: Store) -> None:
    store.write_bytes("a/b.bin", b"one")
    store.write_bytes("a/b.bin", b"two!")
    store.write_json("c.json", {"z": 1, "a": [1, 2]})
    assert store.read_bytes("a/b.bin") == b"two!" and store.size("a/b.bin") == 4
    assert store.read_json("c.json") == {"z": 1, "a": [1, 2]}
    store.delete("a")
    assert not store.exists("a/b.bin") and store.size("a/b.bin") is None


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff", b"[" * 100_000])
def test_damaged_json_is_named(store: Store, damage: bytes) -> None:
    store.write_bytes("deep/a.json", damage)
    with pytest.raises(ValueError, match=r"deep/a\.json is damaged \(.*the next run makes it anew"):
        store.read_json("deep/a.json")


def test_a_published_folder_is_complete_and_its_scratch_is_gone(store: Store) -> None:
    with store.claimed("stage/key") as scratch:
        (scratch / "deep").mkdir()
        (scratch / "deep" / "x.bin").write_bytes(b"xx")
        store.publish(scratch, "items/stage/key", b'{"done": true}')
        assert not scratch.exists()
    assert store.read_bytes("items/stage/key/deep/x.bin") == b"xx"
    assert store.read_json("items/stage/key/receipt.json") == {"done": True}
    assert store.local_path("items/stage/key/deep/x.bin").read_bytes() == b"xx"


def test_files_of_a_folder_are_found_under_their_names_on_this_machine(store: Store) -> None:
    files = {}
    for name in ("metrics.json", "deep/er/a.json"):
        store.write_bytes(f"items/stage/key/{name}", name.encode())
        files[name] = FileRef(f"items/stage/key/{name}", "", len(name))
    folder = store.local_folder(files)
    assert [(folder / name).read_text() for name in files] == list(files)
    store.write_bytes("items/stage/other/b.json", b"b")
    with pytest.raises(ValueError):
        store.local_folder({**files, "b.json": FileRef("items/stage/other/b.json", "", 1)})


def test_publishing_replaces_a_damaged_folder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_bytes("items/s/k/stale.bin", b"old")
    with store.claimed("s/k") as scratch:
        (scratch / "new.bin").write_bytes(b"new")
        store.publish(scratch, "items/s/k", b"{}")
    assert sorted(path.name for path in (tmp_path / "items/s/k").iterdir()) == ["new.bin", "receipt.json"]


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.write_bytes("file", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write_bytes("file", b"new")
    assert store.read_bytes("file") == b"old" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../outside"])
def test_no_path_leaves_the_store(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="leaves the store"):
        Store(tmp_path).write_bytes(path, b"")


def test_a_claim_holds_against_a_second_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.claimed("s/k"):
        errors: list[BaseException] = []

        def second() -> None:
            try:
                with Store(tmp_path).claimed("s/k", wait_s=0.2):
                    pass
            except TimeoutError as error:
                errors.append(error)

        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(errors) == 1
    with store.claimed("s/k", wait_s=0.2):
        pass


def test_on_a_store_without_locks_a_killed_process_of_this_machine_holds_nothing(memory_address: str) -> None:
    store = Store(memory_address)
    claiming = subprocess.Popen(["sleep", "60"])
    with store.exclusive("a.json"):
        (claim,) = store.names("a.json.claims")
    theirs = f"a.json.claims/{claim.rpartition('.')[0]}.{claiming.pid}"
    store.write_bytes(theirs, b"")
    with pytest.raises(TimeoutError, match="delete this file"), store.exclusive("a.json", wait_s=0.1):
        pass
    claiming.kill()
    claiming.wait()
    with store.exclusive("a.json", wait_s=0.1):
        assert store.names("a.json.claims") != [theirs]
    assert store.names("a.json.claims") == []


def test_a_work_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        Store(tmp_path / "file")


def test_hashes_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    store, path = Store(tmp_path / "store"), tmp_path / "data"
    path.write_bytes(b"one")
    first = HashMemory(store)
    assert first.digest(path) == (file_digest(path), 3)
    first.save()
    os.utime(path, ns=(1, 1))
    path.write_bytes(b"two")
    assert HashMemory(store).digest(path)[0] == file_digest(path)


def test_a_folder_counts_by_its_names_and_contents(tmp_path: Path) -> None:
    store, folder = Store(tmp_path / "store"), tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("x")
    before = store.content_digest(folder)
    (folder / "a").rename(folder / "b")
    assert store.content_digest(folder) != before
    assert folder_files(folder) == {"b": (1, file_digest(folder / "b"))}
    with pytest.raises(ValueError, match="does not exist"):
        store.content_digest(tmp_path / "nothing")


def test_digests_do_not_depend_on_key_order() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


def test_a_list_told_value_by_value_has_the_digest_of_the_whole() -> None:
    for values in ([], [1], [{"b": [2], "a": "é"}, None, [], 0.1]):
        assert json_list_digest(iter(values)) == digest(values)
