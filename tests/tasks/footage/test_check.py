"""Footage held against its card: what is missing is named, subject by subject."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.footage.card import load_card
from tasks.workspace.sources import Root, check_sources
from tests.tasks.videos import encode, numbered


def captured(folder: Path, missing: str = "") -> Path:
    """Two subjects with every expression but one of the second's, and a second of talking each."""
    (video,) = [encode(folder / "one.mp4", numbered(25))]
    content = video.read_bytes()
    video.unlink()
    for subject in ("s01", "s02"):
        for take in (*load_card("captured").take_names, "talking-01"):
            if subject == "s01" or take != missing:
                path = folder / subject / "indoor" / f"{take}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    return folder


def test_what_a_captured_subject_lacks_is_named(tmp_path: Path) -> None:
    checked = check_sources(Root(str(captured(tmp_path, "pout")), card="captured"))
    told = "\n".join(checked.lines)
    assert not checked.complete
    assert "s01 (indoor): 0.0 of 20 minutes of talking" in told
    assert "s02 (indoor): 1 of 18 expressions: pout; 0.0 of 20 minutes of talking" in told
    assert "videos      37" in told and "subjects    2 of 115 expected: fewer" in told
    assert "held out    1 of 2 subjects (5% by hash, seed 0)" in told


def test_names_that_are_not_as_the_layout_says_and_files_that_cannot_be_taken_are_told(tmp_path: Path) -> None:
    captured(tmp_path)
    (tmp_path / "s01" / "indoor" / "pout.mp4").rename(tmp_path / "s01" / "indoor" / "pouting.mp4")
    (tmp_path / "s02" / "gone.mp4").symlink_to("nowhere")
    (tmp_path / "consent.txt").write_text("yes\n")
    told = "\n".join(check_sources(Root(str(tmp_path), card="captured")).lines)
    assert "misnamed    s01-indoor-pouting" in told and "s01 (indoor): 1 of 18 expressions: pout" in told
    assert "not usable" in told and "a link to nowhere, which is not there" in told
    assert "passed over 1 × no_video" in told


def test_a_plain_folder_is_complete(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp4", numbered(25))
    checked = check_sources(Root(str(tmp_path)))
    assert checked.complete, checked.lines
    with pytest.raises(ValueError, match="no videos"):
        (tmp_path / "empty").mkdir()
        check_sources(Root(str(tmp_path / "empty")))
