"""What the terminal shows of a command that fails: one clear line."""

from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from flows.options import runtime_and_recipe

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("debug", [False, True])
def test_a_failure_is_one_line_on_the_terminal_unless_debugging(monkeypatch: pytest.MonkeyPatch, debug: bool) -> None:
    from prefect.logging.handlers import PrefectConsoleHandler

    from flows.console import hide_tracebacks

    monkeypatch.setenv("FYE_DEBUG", "1") if debug else monkeypatch.delenv("FYE_DEBUG", raising=False)
    stream = io.StringIO()
    handler = PrefectConsoleHandler(stream=stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("tests.console")
    logger.propagate = False
    logger.addHandler(handler)
    try:
        hide_tracebacks()
        raise ValueError("no face")
    except ValueError as error:
        logger.exception("failed: %s", error)
    finally:
        logger.removeHandler(handler)
    assert "ERROR failed: no face" in stream.getvalue()
    assert ("Traceback" in stream.getvalue()) == debug


def test_a_wrong_animation_ends_before_anything_starts(tmp_path: Path) -> None:
    words = ["animate", "portrait.png", "driving.mp4", "--model", "absent", "--output", "out/x.mp4"]
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path / "prefect")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "fye: absent is not a model folder: there is no such folder"
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def heeds_ctrl_c() -> None:
    """A test run in a shell's background was started without."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "says"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "told")]
)
def test_a_command_that_is_stopped_ends_with_one_line(
    tmp_path: Path, number: signal.Signals, status: int, says: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "samples", str(tmp_path / "samples")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeds_ctrl_c,
    )
    while not (tmp_path / "samples").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    (line,) = [line for line in said.splitlines() if line]
    assert line.startswith(f"fye: {says}") and line.endswith("the same command goes on from there.")


@pytest.mark.parametrize(("device", "says"), [("tpu", "device: Input should be 'auto'"), ("cuda", "no CUDA GPU here")])
def test_a_device_that_is_not_there_is_named_in_one_line(device: str, says: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match=says) as caught:
        runtime_and_recipe([], device=device)
    assert "\n" not in str(caught.value)
