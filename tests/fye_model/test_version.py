"""The commit that runs is told, with a word where files are not that commit's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fye_model.version import source_commit


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_the_trees_and_changes_are_told(tmp_path: Path) -> None:
    assert source_commit(tmp_path) is None, "no checkout"

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    git("tag", "-a", "v1", "-m", "a tag does not stand in its place")
    assert source_commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("two")
    assert source_commit(tmp_path) == git("rev-parse", "HEAD") + "+changes"
