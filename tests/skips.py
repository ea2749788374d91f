"""Which tests may be skipped, and why. In CI (environment variable CI) a skip that is not listed here is a failure.

A test that quietly stops running proves nothing; a reason counts only where what it speaks of is true of this machine.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("FYE_SAMPLE_DATA") or Path(__file__).resolve().parents[2] / "shared")
NO_SHARED = "no folder of sample data beside the checkout"
NO_USUAL_LANDMARKER = "needs face_landmarker.task; this machine only has the landmark model of a package registry"
NEEDS_GPU = r"needs a (Hopper )?GPU"
NO_MOUNT = "mounting a small file system takes rights that this process does not have"


@dataclass(frozen=True)
class Expected:
    """A reason to skip (a regular expression, searched in what pytest says) and whether it holds here."""

    reason: str
    holds: Callable[[], bool]


def has_gpu(hopper: bool = False) -> bool:
    import torch

    return torch.cuda.is_available() and (not hopper or torch.cuda.get_device_capability() == (9, 0))


@cache
def can_mount() -> bool:
    """Whether this process may mount a file system of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder]
        try:
            if subprocess.run(command, capture_output=True, check=False).returncode:
                return False
        except OSError:
            return False
        subprocess.run(["umount", folder], check=True)
        return True


NO_BROWSER = "needs Chromium and its chromedriver"
NO_METRICS_EXTRA = r"needs .*: pip install '\.\[metrics\]'"


def lacks_metrics_extra() -> bool:
    from fye_model.evaluation.extra import PACKAGES, lacking

    return lacking(*PACKAGES) is not None


def lacks_browser() -> bool:
    from tests.browser import find_browser

    return find_browser() is None


EXPECTED = (
    Expected(re.escape(NO_SHARED), lambda: not SHARED.is_dir()),
    Expected(re.escape(NO_USUAL_LANDMARKER), lambda: not (SHARED / "models" / "face_landmarker.task").is_file()),
    Expected(NEEDS_GPU, lambda: not has_gpu()),
    Expected(r"needs a Hopper GPU", lambda: not has_gpu(hopper=True)),
    Expected(r"there is a GPU", has_gpu),
    Expected(r"root reads everything", lambda: os.geteuid() == 0),
    Expected(r"the kernel's help is Linux's", lambda: sys.platform != "linux"),
    Expected(re.escape(NO_MOUNT), lambda: not can_mount()),
    Expected(NO_METRICS_EXTRA, lacks_metrics_extra),
    Expected(re.escape(NO_BROWSER), lacks_browser),
    Expected(r"could not import 'gradio'", lambda: importlib.util.find_spec("gradio") is None),
    Expected(r"could not import 'wandb'", lambda: importlib.util.find_spec("wandb") is None),
    Expected(r"could not import 'mlflow'", lambda: importlib.util.find_spec("mlflow") is None),
    Expected(r"wandb is installed", lambda: importlib.util.find_spec("wandb") is not None),
    Expected(r"needs git", lambda: shutil.which("git") is None),
)


def is_expected(reason: str) -> bool:
    """Whether a test may be skipped for this reason on this machine."""
    return any(re.search(entry.reason, reason) and entry.holds() for entry in EXPECTED)


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


def refuse_unexpected(report: pytest.TestReport | pytest.CollectReport) -> None:
    """In CI, turn a report of an unexpected skip into one of a failure."""
    if not (in_ci() and report.skipped) or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not is_expected(reason):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, which is not expected here: {reason} (see tests/skips.py)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    refuse_unexpected(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    refuse_unexpected(report)
    return report
