"""`--quiet` and `--json` mean the same at every command that makes something: nothing, or JSON alone, on stdout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli import _run, app
from flows.options import TOLD, Told
from tasks.faces.landmarker import LandmarkerAsset

MAKERS = (
    *("demo", "retrain", "retrain-weekly", "refresh", "capture", "evaluate", "pack"),
    *("ablate", "animate", "animate-many", "live", "score", "bench build", "bench check"),
)


@pytest.mark.parametrize("command", MAKERS)
def test_every_command_that_makes_something_takes_both(command: str) -> None:
    found = app
    for word in command.split():
        found = found[word]
    names = {name for argument in found.assemble_argument_collection() for name in argument.names}
    assert {"--quiet", "--json"} <= names


def test_every_flow_that_a_command_runs_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose options were not handed on would say everything though it was asked not to."""
    texts = "\n".join(path.read_text() for path in (Path(__file__).parents[2] / "flows").glob("*cli.py"))
    calls = [text for text in texts.split("return ") if text.startswith(("_run(flow", "run(flow"))]
    assert len(calls) >= 10 and [call[:60] for call in calls if "told=told" not in call.split("\n")[0]] == []


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("told", [TOLD, Told(quiet=True), Told(json=True), Told(quiet=True, json=True)])
def test_a_run_ends_in_words_and_its_table_or_in_json_alone_or_in_nothing(
    told: Told, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from prefect import flow
    from prefect.states import Completed

    @flow
    def makes() -> Any:
        return Completed(data={"seconds": 3.0, "outputs": {"table": "table.md"}})

    (tmp_path / "table.md").write_text("| full | 0.1 |\n")
    assert _run(makes, 10, tmp_path / "table.md", told=told) == 0
    said = capsys.readouterr().out
    if told.json:
        assert json.loads(said) == {"seconds": 3.0, "outputs": {"table": "table.md"}}
    elif told.quiet:
        assert said == ""
    else:
        assert "Completed in 3 s" in said and said.endswith("\n\n| full | 0.1 |\n")


def test_a_bad_bench_is_told_in_json_or_on_stderr_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "check", str(tmp_path)]
    assert app([*words, "--json"], result_action="return_value") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] and found["bench"] == str(tmp_path)
    assert app([*words, "--quiet"], result_action="return_value") == 1
    said = capsys.readouterr()
    assert said.out == "" and found["problems"][0] in said.err


def test_lines_of_work_in_this_process_leave_stdout_to_json(capsys: pytest.CaptureFixture[str]) -> None:
    for told in (TOLD, Told(json=True), Told(quiet=True)):
        told.log("frame 1 of 2")
        told.log("WARNING: its numbers are of another size")
    said = capsys.readouterr()
    assert said.out.splitlines() == ["frame 1 of 2", "WARNING: its numbers are of another size"]
    assert said.err.count("frame 1 of 2") == 1 and said.err.count("WARNING") == 2


@pytest.mark.slow
def test_animations_are_told_as_json_and_what_failed_is_said_by_a_quiet_command_too(
    tmp_path: Path, sample_clips: list[Path], landmarker_asset: LandmarkerAsset, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    from fye_model.config import SamplingConfig
    from tasks.media.read import read_frames
    from tests.fye_model.animation.tiny import build_tiny, describe_tiny
    from tests.tasks.videos import encode

    pipeline = build_tiny()
    pipeline.description = describe_tiny(sampling=SamplingConfig(steps=1))
    pipeline.save_pretrained(tmp_path / "model")
    frames = read_frames(sample_clips[0], slice(0, 3))
    (tmp_path / "drivers").mkdir()
    encode(tmp_path / "drivers" / "good.mp4", frames)
    (tmp_path / "drivers" / "bad.mp4").write_bytes(b"not a video")
    Image.fromarray(frames[0]).save(tmp_path / "anna.png")
    words = ["animate-many", str(tmp_path / "anna.png"), str(tmp_path / "drivers")]
    words += ["--model", str(tmp_path / "model"), "--output", str(tmp_path / "out")]
    assert app([*words, "--json"], result_action="return_value") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["anna--good.mp4"]["frames"] == 3 and "bad.mp4" in found["anna--bad.mp4"]["error"]
    assert app([*words, "--quiet"], result_action="return_value") == 1
    said = capsys.readouterr()
    assert said.out == "" and "fye: anna--bad.mp4: " in said.err
