"""A folder in a place of everybody's is its user's alone, whoever was there first."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from tasks.engine.own import own_folder
from tasks.engine.store import Store


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files that everybody may write to."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def test_work_of_a_store_at_an_address_lies_where_only_its_user_may_enter(shared: Path) -> None:
    before = os.umask(0)
    try:
        folder = Store("memory://lab").scratch("landmarks/key")
        folder.mkdir(parents=True)
    finally:
        os.umask(before)
    (entry,) = shared.iterdir()
    assert folder.is_relative_to(entry) and stat.S_IMODE(entry.stat().st_mode) == 0o700
    assert Store("memory://lab").scratch("landmarks/key") == folder, "work goes on in it"
    assert Store("memory://other").scratch("landmarks/key") != folder


def test_a_folder_that_another_user_made_first_is_refused(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    someone = os.getuid() + 1
    made = own_folder(shared, "follow-your-emoji")
    monkeypatch.setattr(os, "getuid", lambda: someone)
    made.rename(shared / f"follow-your-emoji-{someone}")
    with pytest.raises(ValueError, match=r"belongs to another user \(number \d+\); remove it, or set TMPDIR"):
        Store("memory://lab").scratch("landmarks/key")


def test_links_files_and_folders_that_others_may_enter_are_refused(shared: Path, tmp_path: Path) -> None:
    place = shared / f"follow-your-emoji-{os.getuid()}"
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is no folder"):
        own_folder(shared, "follow-your-emoji")
    place.unlink()
    place.mkdir()
    place.chmod(0o755)
    with pytest.raises(ValueError, match=r"may be entered by others \(mode 755\)"):
        own_folder(shared, "follow-your-emoji")
    place.chmod(0o700)
    assert own_folder(shared, "follow-your-emoji") == place
