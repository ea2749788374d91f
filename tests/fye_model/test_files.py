"""What is written can be read by those whom the umask lets read, whoever wrote the bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fye_model.files import whole_file, whole_folder, write_atomic


@pytest.fixture(params=[0o022, 0o002, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_files_have_the_permissions_that_the_umask_asks_for(umask: int, tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"1")
    with whole_file(tmp_path / "b") as temporary:
        temporary.touch(mode=0o600)
    with whole_folder(tmp_path / "c") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "weights").touch(mode=0o600)  # as libraries do that make a temporary file first
    for name in ("a", "b", "c/deep/weights"):
        assert _mode(tmp_path / name) == 0o666 & ~umask, name
