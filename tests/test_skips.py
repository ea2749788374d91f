"""In continuous integration a test may only be skipped for a reason that holds there; elsewhere it may be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = """
import pytest

@pytest.mark.skipif(True, reason="not in the mood")
def test_skipped_by_a_mark(): ...

def test_skipped_from_inside():
    pytest.skip("not in the mood either")

@pytest.mark.skip(reason="root reads everything")
def test_skipped_as_expected_where_root_runs_it(): ...

@pytest.mark.xfail
def test_known_to_fail():
    assert False
"""


def run(folder: Path, ci: str) -> str:
    """What pytest says at the end of these tests, run with the rule on skips alone."""
    (folder / "test_some.py").write_text(TESTS)
    (folder / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_package')\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.skips", "-p", "no:cacheprovider", "-rA"]
    command += ["--continue-on-collection-errors", str(folder)]
    environment = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


def test_in_ci_an_unexpected_skip_fails_and_says_why(tmp_path: Path) -> None:
    said = run(tmp_path, "true")
    assert "test_skipped_by_a_mark was skipped, which is not expected here: Skipped: not in the mood" in said
    assert "test_skipped_from_inside was skipped, which is not expected here: Skipped: not in the mood either" in said
    assert "could not import 'no_such_package'" in said
    root = os.geteuid() == 0  # whether root's reason counts depends on who runs it
    counts = "1 failed, 1 skipped, 1 xfailed, 2 errors" if root else "1 failed, 1 xfailed, 3 errors"
    assert counts in said, said


def test_elsewhere_skips_are_skips(tmp_path: Path) -> None:
    said = run(tmp_path, "")
    assert "4 skipped, 1 xfailed" in said and "failed" not in said.replace("xfailed", ""), said
