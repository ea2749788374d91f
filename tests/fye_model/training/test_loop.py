"""The training loop: what moves, what resumes exactly, what stops it, and what is left on disk."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fye_model.networks import Networks, build_networks
from fye_model.training import checkpoint
from fye_model.training.__main__ import main
from fye_model.training.failures import Diverged, OutOfMemory
from fye_model.training.job import TrainJob, launch_command, read_job
from fye_model.training.loop import learning_rate, train
from fye_model.training.progress import read_metrics

Make = Callable[..., TrainJob]


def quiet(message: str) -> None:
    pass


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return Networks.load(folder).state_dict()


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.fixture
def stage1(make_job: Make) -> Path:
    """A finished checkpoint of stage 1."""
    return train(make_job(output="stage1", steps=2), quiet).checkpoints[-1]


def test_stage_1_moves_the_spatial_half_alone(make_job: Make) -> None:
    job = make_job(condition_dropout=0.5)
    torch.manual_seed(job.train.seed)
    start = build_networks(job.networks, 6).state_dict()
    result = train(job, quiet)
    assert result.finished and [path.name for path in result.checkpoints] == ["checkpoint-000002", "checkpoint-000004"]
    networks = Networks.load(result.checkpoints[-1])
    assert moved(start, networks.state_dict()) == set(networks.spatial_parameters())


def test_stage_2_moves_the_temporal_half_and_the_covered_channels_alone(make_job: Make, stage1: Path) -> None:
    result = train(make_job(2, job={"init": stage1}), quiet)
    networks = Networks.load(result.checkpoints[-1])
    assert moved(weights(stage1), networks.state_dict()) == set(networks.temporal_parameters())
    assert "denoiser.conv_given.weight" in networks.temporal_parameters()
    state = load_file(result.checkpoints[-1] / checkpoint.STATE)
    assert {name.split("/", 2)[2] for name in state} == set(networks.temporal_parameters()), "no state for frozen parts"


def test_stage_1_goes_on_from_a_model_of_stage_2_and_leaves_its_temporal_half(make_job: Make, stage1: Path) -> None:
    stage2 = train(make_job(2, output="stage2", job={"init": stage1}, steps=1), quiet).checkpoints[-1]
    again = train(make_job(1, output="again", job={"init": stage2}, steps=1), quiet).checkpoints[-1]
    changed = moved(weights(stage2), weights(again))
    assert changed and not {name for name in changed if "motion" in name}


def test_training_lowers_the_validation_loss(make_job: Make) -> None:
    result = train(make_job(steps=60, batch_size=8, checkpoint_every=30, validation_batches=4), quiet)
    first, last = (json.loads((path / "validation.json").read_text()) for path in result.checkpoints)
    assert last["loss"] < 0.9 * first["loss"]
    assert last["loss"] == pytest.approx(last["loss_diffusion"] + last["loss_expression"] + last["loss_face"])
    assert last["items"] == 32 and last["step"] == 60


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_stopped_run_goes_on_to_the_same_files(make_job: Make, ema_decay: float, tmp_path: Path) -> None:
    """Weights, state, losses and which checkpoints there are: whoever looks later cannot tell that it was stopped."""
    settings: dict[str, Any] = {"steps": 5, "accumulate": 2, "ema_decay": ema_decay, "decay": "cosine"}
    settings |= {"warmup_steps": 2, "checkpoint_every": 4, "validate_every": 2, "keep_last": 2}
    whole = train(make_job(output="whole", job={"board": tmp_path / "board"}, **settings), quiet)
    calls = iter([False, False, True])
    job = make_job(output="part", job={"board": tmp_path / "board"}, **settings)
    part = train(job, quiet, should_stop=lambda: next(calls))
    assert (part.step, part.finished, part.checkpoints[-1].name) == (3, False, "checkpoint-000003")
    rest = train(job, quiet)
    assert rest.finished
    names = [path.name for path in rest.checkpoints]
    assert names == [path.name for path in whole.checkpoints] == ["checkpoint-000004", "checkpoint-000005"]
    assert not moved(weights(whole.checkpoints[-1]), weights(rest.checkpoints[-1]))
    states = [load_file(result.checkpoints[-1] / checkpoint.STATE) for result in (whole, rest)]
    assert states[0].keys() == states[1].keys() and not moved(*states)
    assert folder_files(whole.checkpoints[-1].parent) == folder_files(job.output)


def folder_files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def start_process(job: TrainJob) -> subprocess.Popen[str]:
    job_file = job.output.with_suffix(".json")
    job.write(job_file)
    return subprocess.Popen(
        launch_command(job_file),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    pytest.fail(f"{text!r} never came:\n{''.join(seen)}")


def test_sigkill_between_checkpoints_and_resume_with_other_workers_gives_the_same_weights_and_losses(
    make_job: Make,
) -> None:
    settings = {"steps": 9, "checkpoint_every": 3, "keep_last": 1}
    whole = train(make_job(output="whole", **settings), quiet)
    job = make_job(output="killed", **settings)
    process = start_process(job)
    wait_for(process, "step 5/9 loss")  # two steps after a checkpoint: they are lost and taken again
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    job = job.model_copy(update={"loader_workers": 1})
    finished = train(job, quiet)
    assert finished.finished and [p.name for p in finished.checkpoints] == [p.name for p in whole.checkpoints]
    for ours, theirs in zip(finished.checkpoints, whole.checkpoints, strict=True):
        assert not moved(weights(theirs), weights(ours)), ours.name
        assert (ours / "validation.json").read_text() == (theirs / "validation.json").read_text()
    assert (job.output / "metrics.jsonl").read_text() == (whole.checkpoints[0].parent / "metrics.jsonl").read_text()
    assert not list(job.output.glob(".checkpoint-*"))


class SignalAfter(io.StringIO):
    """Keeps what is written, and has this process signalled when a text is first written."""

    def __init__(self, text: str, number: signal.Signals) -> None:
        super().__init__()
        self.text, self.number = text, number

    def write(self, text: str) -> int:
        if self.text in text and self.text not in self.getvalue():
            signal.raise_signal(self.number)
        return super().write(text)


def run_main(job_file: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit status of `python -m fye_model.training`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["fye_model.training", "--job", str(job_file)])
    return main()


def test_sigterm_ends_with_a_checkpoint_and_says_so_by_its_exit_status(
    make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(steps=100_000, checkpoint_every=100_000, validate_every=100_000)
    job_file = job.output.with_suffix(".json")
    job.write(job_file)
    output = SignalAfter("step 2/", signal.SIGTERM)
    monkeypatch.setattr(sys, "stdout", output)
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("nobody sees to SIGTERM"))
    try:
        assert run_main(job_file, monkeypatch) == 128 + signal.SIGTERM, output.getvalue()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "stopped on request after step" in output.getvalue()
    (saved,) = checkpoint.list_checkpoints(job.output)
    assert saved[0] >= 2 and (saved[1] / checkpoint.STATE).is_file()


def test_only_the_last_checkpoints_can_be_gone_on_from_and_all_keep_their_weights(make_job: Make) -> None:
    result = train(make_job(steps=6, keep_last=2), quiet)
    assert [(path / checkpoint.STATE).is_file() for path in result.checkpoints] == [False, True, True]
    assert all((path / "denoiser" / "config.json").is_file() for path in result.checkpoints)
    meta = checkpoint.read_meta(result.checkpoints[0])
    assert (meta.step, meta.stage, meta.samples) == (2, 1, 8)
    assert meta.identity["train"]["learning_rate"] == 1e-2  # type: ignore[index, call-overload]


def test_a_finished_run_is_left_as_it_is(make_job: Make) -> None:
    first = train(make_job(), quiet)
    times = [path.stat().st_mtime_ns for path in first.checkpoints]
    again = train(make_job(), quiet)
    assert again == first and [path.stat().st_mtime_ns for path in again.checkpoints] == times


def test_a_constant_rate_run_can_be_made_longer_but_not_changed(make_job: Make) -> None:
    train(make_job(steps=2), quiet)
    assert train(make_job(steps=3), quiet).step == 3
    with pytest.raises(ValueError, match=r"another configuration: train\.learning_rate is 0\.01 there and 0\.02 here"):
        train(make_job(steps=4, learning_rate=2e-2), quiet)


def test_the_other_stages_checkpoint_is_refused_both_as_output_and_as_start(make_job: Make, stage1: Path) -> None:
    with pytest.raises(ValueError, match="is of training stage 1, this run is stage 2"):
        train(make_job(2, output="stage1", job={"init": stage1}), quiet)
    stage2 = train(make_job(2, output="stage2", job={"init": stage1}, steps=1), quiet).checkpoints[-1]
    with pytest.raises(ValueError, match=r"is of training stage 2, but stage 2 starts from a checkpoint of stage 1"):
        train(make_job(2, output="again", job={"init": stage2}), quiet)
    with pytest.raises(ValueError, match="stage 2 starts from a checkpoint of stage 1: give its folder"):
        make_job(2)


def test_a_start_of_another_size_is_refused(make_job: Make, stage1: Path) -> None:
    job = make_job(2, job={"init": stage1})
    wider = job.networks.model_copy(update={"cross_attention_dim": 24})
    with pytest.raises(ValueError, match="cross_attention_dim is 16, expected 24"):
        train(job.model_copy(update={"networks": wider}), quiet)


def test_a_loss_that_is_not_finite_stops_with_the_batch_saved(make_job: Make, data: Path, tmp_path: Path) -> None:
    values = json.loads(data.read_text())
    for clip in values["clips"]:
        clip.update({key: str(data.parent / clip[key]) for key in ("landmarks", "masks", "latents")})
        tensors = load_file(clip["latents"])
        tensors["latents"][3:] = float("nan")
        save_file(tensors, tmp_path / f"{clip['name']}.safetensors")
        clip["latents"] = str(tmp_path / f"{clip['name']}.safetensors")
    (tmp_path / "index.json").write_text(json.dumps(values))
    job = make_job(job={"index": tmp_path / "index.json"})
    with pytest.raises(Diverged, match=r"step 1: the loss or its gradient is nan.*@") as error:
        train(job, quiet)
    (saved,) = job.output.glob("diverged-*.safetensors")
    assert saved.name in str(error.value)
    assert torch.isnan(load_file(saved)["latents"]).any() and not checkpoint.list_checkpoints(job.output)


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_good_one(
    make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(make_job(steps=2), quiet).finished
    job = make_job(steps=4)
    job_file = job.output.with_suffix(".json")
    job.write(job_file)
    said = io.StringIO()
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", said)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # files of this process cannot grow past 16 KiB: the networks' do not fit, the record of the run does
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, hard))
    try:
        assert run_main(job_file, monkeypatch) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    message = (
        r"error: checkpoint of step 4 could not be written .*: .*File too large.*it goes on from checkpoint-000002"
    )
    assert re.fullmatch(message, said.getvalue().strip()), said.getvalue()
    assert [path.name for path in sorted(job.output.glob("*checkpoint*"))] == ["checkpoint-000002"]
    assert train(job, quiet).finished


def test_no_memory_on_a_gpu_ends_with_the_setting_to_change_and_the_last_checkpoint_good(make_job: Make) -> None:
    calls = iter([False, False])

    def full() -> bool:
        for answer in calls:
            return answer
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    job = make_job()
    with pytest.raises(OutOfMemory, match=r"4 items of 1 frame.*set train\.stage1\.precision to bf16"):
        train(job, quiet, full)
    assert [path.name for _, path in checkpoint.list_checkpoints(job.output)] == ["checkpoint-000002"]
    assert train(job, quiet).finished


def test_a_damaged_state_is_named_with_the_way_out(make_job: Make) -> None:
    job = make_job(steps=4)
    last = train(job, quiet).checkpoints[-1]
    state = last / checkpoint.STATE
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"state\.safetensors is damaged.*delete .*checkpoint-000004"):
        train(job, quiet)


def test_learning_rate_warms_up_then_stays_or_falls(make_job: Make) -> None:
    config = make_job(steps=12, warmup_steps=4, learning_rate=1.0).train
    assert [learning_rate(config, step) for step in (1, 2, 4, 5, 12)] == [0.25, 0.5, 1, 1, 1]
    cosine = config.model_copy(update={"decay": "cosine"})
    assert learning_rate(cosine, 5) == 1
    assert learning_rate(cosine, 9) == pytest.approx(0.5)
    assert 0 < learning_rate(cosine, 12) < 0.05


def test_a_job_file_reads_back_and_names_what_is_wrong(make_job: Make, tmp_path: Path) -> None:
    job = make_job()
    job.write(tmp_path / "job.json")
    assert read_job(tmp_path / "job.json") == job
    values = json.loads((tmp_path / "job.json").read_text())
    values["train"]["steps"] = 0
    values["tran"] = 1
    (tmp_path / "job.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"job\.json: train\.steps: .*greater than 0.*tran: Extra"):
        read_job(tmp_path / "job.json")
    with pytest.raises(ValueError, match="cannot be read"):
        read_job(tmp_path / "none.json")


def test_a_wrong_job_ends_the_process_with_one_line_not_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(tmp_path / "none.json", monkeypatch) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: training job")


def test_status_lines_tell_losses_speed_memory_and_time_left(make_job: Make) -> None:
    lines: list[str] = []
    begun = time.monotonic()
    job = make_job()
    train(job, lines.append)
    assert time.monotonic() - begun < 60
    (first,) = [line for line in lines if line.startswith("first step after ")]
    assert lines.index(first) < next(number for number, line in enumerate(lines) if line.startswith("step 1/4 loss"))
    total, *parts = re.findall(r"\d+\.\d", first)
    assert [re.sub(r" [\d.]+$", "", part) for part in first.split(": ")[1].split(", ")] == [
        *("data", "networks", "step made ready", "waited for data", "step"),
    ]
    assert float(total) == pytest.approx(sum(map(float, parts)), abs=0.3)
    (last,) = [line for line in lines if line.startswith("step 4/4 loss")]
    for word in ("diffusion", "expression", "face", "lr 1.00e-02", "samples/s", "wait", "MiB", "eta 0:00:00"):
        assert word in last
    assert list((job.output / "tensorboard").glob("events*"))
    records = read_metrics(job.output / "metrics.jsonl")
    assert [r["step"] for r in records if "loss" in r] == [1, 2, 3, 4]
    assert [r["step"] for r in records if "val_loss" in r] == [2, 4]
