"""A data set is its roots; every file below them is a source, a duplicate, or named with its problem."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.engine.store import Store
from tasks.ingest import ingest_items
from tasks.workspace.run import claim_landmark_model
from tasks.workspace.sources import Root, register_root, registered_roots, scan, set_aside


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
    assert [item.name for item in ingest_items(sources)] == ["a", "c"]
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
