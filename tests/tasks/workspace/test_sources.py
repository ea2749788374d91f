"""A data set is its roots; every file below them is a source, a duplicate, or named with its problem."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.clips import clip_items
from tasks.engine.store import Store
from tasks.workspace.registry import claim_landmark_model
from tasks.workspace.sources import Root, known_aliases, register_root, registered_roots, scan, set_aside
from tasks.workspace.summary import note_changes


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "work")


def make(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / f"{name}.mp4").write_bytes(data)
    return folder


def test_roots_are_remembered_once_and_in_order(store: Store, tmp_path: Path) -> None:
    a, b = make(tmp_path / "a", x=b"1"), make(tmp_path / "b", y=b"2")
    register_root(store, Root(str(a)))
    register_root(store, Root(str(b), "anna"))
    register_root(store, Root(str(a)))
    assert registered_roots(store) == [Root(str(a)), Root(str(b), "anna")]
    with pytest.raises(ValueError, match="already in this data set as subject 'anna'"):
        register_root(store, Root(str(b), "berta"))


def test_subjects_come_from_the_root_the_folder_or_the_file(store: Store, tmp_path: Path) -> None:
    make(tmp_path / "set" / "carl", smile=b"1")
    make(tmp_path / "set", alone=b"2")
    captured = make(tmp_path / "captured", pout=b"3")
    sources = scan(store, [Root(str(tmp_path / "set")), Root(str(captured), "dora")])
    assert [(source.name, source.subject) for source in sources] == [
        ("alone", "alone"),
        ("carl-smile", "carl"),
        ("dora-pout", "dora"),
    ]


def test_equal_bytes_are_one_source_and_the_copy_is_named(store: Store, tmp_path: Path) -> None:
    root = make(tmp_path / "set", a=b"same", b=b"same", c=b"other")
    sources = scan(store, [Root(str(root))])
    assert [item.name for item in clip_items(sources)] == ["a", "c"]
    (copy,) = set_aside(sources)
    assert (copy.name, copy.reason) == ("b", "duplicate")


def test_a_link_out_of_the_root_is_not_followed(store: Store, tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", secret=b"s")
    root = make(tmp_path / "set", a=b"1")
    (root / "b.mp4").symlink_to(outside / "secret.mp4")
    (aside,) = set_aside(scan(store, [Root(str(root))]))
    assert (aside.name, aside.reason) == ("b", "outside")


def test_roots_that_are_no_folders_of_videos_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        register_root(store, Root(str(tmp_path / "absent")))
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        register_root(store, Root(str(tmp_path / "file")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no videos in .*empty.*\.mp4"):
        scan(store, [Root(str(tmp_path / "empty"))])
    with pytest.raises(ValueError, match="data set is empty"):
        scan(store, [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_or_folder_is_set_aside(store: Store, tmp_path: Path) -> None:
    root = make(tmp_path / "set", a=b"1", b=b"2")
    make(root / "closed", c=b"3")
    (root / "b.mp4").chmod(0)
    (root / "closed").chmod(0)
    try:
        reasons = {outcome.name: outcome.reason for outcome in set_aside(scan(store, [Root(str(root))]))}
    finally:
        (root / "closed").chmod(0o700)
    assert reasons == {"b": "unreadable", "closed": "unreadable"}


def test_a_data_set_stays_with_the_landmark_model_that_it_began_with(store: Store, tmp_path: Path) -> None:
    claim_landmark_model(store, "model-a")
    register_root(store, Root(str(make(tmp_path / "a", x=b"1"))))
    with pytest.raises(ValueError, match="made with the landmark model model-a, and this run has model-b"):
        claim_landmark_model(store, "model-b")


@pytest.mark.parametrize("where", ["local", "memory"])
def test_folders_added_at_once_are_all_kept_and_against_another_none_is(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """As captures of several people on several machines: eight at a time, five times over."""
    address = str(tmp_path / "work") if where == "local" else request.getfixturevalue("memory_address")
    folders = [make(tmp_path / f"person-{number}", x=b"1") for number in range(40)]
    together = threading.Barrier(8, timeout=20)

    def capture(folder: Path, subject: str) -> str:
        together.wait()
        try:
            register_root(Store(address), Root(str(folder), subject))
        except ValueError as error:
            assert "already in this data set as subject" in str(error)
            return "refused"
        return "added"

    with ThreadPoolExecutor(8) as several:
        assert set(several.map(lambda folder: capture(folder, folder.name), folders)) == {"added"}
        found = registered_roots(Store(address))
        assert {root.path for root in found} == {str(folder) for folder in folders}
        assert registered_roots(Store(address)) == found, "the order is always the same"
        quarrel = [(make(tmp_path / f"quarrel-{number}", x=b"1"), name) for number in range(5) for name in "abcdefgh"]
        answers = list(several.map(lambda pair: capture(*pair), quarrel))
    assert answers.count("added") == 5
    assert len(registered_roots(Store(address))) == 45
    store = Store(address)
    assert not store.exists(".dataset.json.lock") and store.names("dataset.json.claims") == []


def test_a_claim_that_is_never_let_go_is_told_with_what_to_do(memory_address: str) -> None:
    store = Store(memory_address)
    store.write_bytes("dataset.json.claims/0.some-host.17", b"")
    with (
        pytest.raises(TimeoutError, match=r"claims/0\.some-host\.17: held .* 17 of some-host.*delete this file"),
        store.exclusive("dataset.json", wait_s=0.1),
    ):
        pass
    assert store.names("dataset.json.claims") == ["0.some-host.17"]


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"schema": 1, "roots": [3]}', b"\xff", b'{"path": 1}'])
def test_damaged_notes_are_named_and_damaged_caches_made_anew(
    store: Store, tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make(tmp_path / "a", x=b"1")
    register_root(store, Root(str(folder)))
    sources = scan(store, registered_roots(store))
    for cache in ("hashes.json", "clips.json"):
        store.write_bytes(cache, damage)
    assert scan(store, registered_roots(store)) == sources
    assert note_changes(store, {"1": "one"}, {"1"}) == ((), ())
    assert note_changes(store, {"1": "one", "2": "two"}, {"1", "2"}) == (("two",), ())
    assert scan(store, registered_roots(store)) == sources
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        f"{store.url}/hashes.json is damaged",
        f"{store.url}/clips.json is damaged",
    ]
    store.write_bytes("dataset.json", damage)
    for ask in (registered_roots, known_aliases, lambda store: register_root(store, Root(str(folder)))):
        with pytest.raises(ValueError, match=r"dataset\.json is damaged .*give the folders again"):
            ask(store)
