"""The folder of our own Ray's sessions, while other processes make and remove theirs beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.engine import cluster


def test_a_folder_that_is_gone_when_it_is_looked_at_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.shutdown()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "fye-ray-gone").symlink_to("nowhere")  # listed, and not there
    folder = cluster._new_folder()
    assert folder.is_dir() and folder.parent == tmp_path
    cluster.shutdown()
    assert not folder.exists()
