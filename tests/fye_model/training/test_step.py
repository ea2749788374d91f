"""Working weights against the plain step, checkpoints in the background, and what a run says when it cannot go on."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from fye_model.config import AutoencoderConfig, TrainStageConfig
from fye_model.networks import Networks, build_networks
from fye_model.training import checkpoint
from fye_model.training.autoencoder import build_autoencoder
from fye_model.training.failures import memory_advice
from fye_model.training.job import TrainJob
from fye_model.training.kernels.staged_adam import split
from fye_model.training.latents import in_half_precision
from fye_model.training.loop import train
from fye_model.training.progress import read_metrics
from fye_model.training.work import WorkCounter, sample_work
from fye_model.training.working import too_large

Make = Callable[..., TrainJob]
HALF = {"precision": "bf16", "working_weights": "bf16"}


def quiet(message: str) -> None:
    pass


def losses(job: TrainJob) -> list[float]:
    return [record["loss"] for record in read_metrics(job.output / "metrics.jsonl") if "loss" in record]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_working_weights_learn_as_the_plain_step_does(make_job: Make, accumulate: int) -> None:
    settings = {"steps": 8, "checkpoint_every": 8, "learning_rate": 3e-3, "ema_decay": 0.9, "accumulate": accumulate}
    plain = make_job(output="plain", precision="bf16", **settings)
    working = make_job(output="working", working_weights="bf16", precision="bf16", **settings)
    results = [train(job, quiet) for job in (plain, working)]
    assert losses(working) == pytest.approx(losses(plain), rel=2e-2)
    assert losses(working) != losses(plain), "the two ways are the same"
    states = [load_file(result.checkpoints[-1] / checkpoint.STATE) for result in results]
    torch.manual_seed(plain.train.seed)
    start = build_networks(plain.networks, 6).state_dict()
    ways = [
        torch.cat([(state[f"raw/{name}"] - start[name]).flatten() for name in Networks.load(path).spatial_parameters()])
        for state, path in zip(states, (result.checkpoints[-1] for result in results), strict=True)
    ]
    # Adam moves a weight by its gradient's sign, which rounding decides where the gradient is nearly zero
    assert torch.cosine_similarity(ways[0], ways[1], dim=0) > 0.8


def test_a_stopped_run_of_working_weights_goes_on_to_the_same_bits(make_job: Make) -> None:
    settings = {"steps": 4, "ema_decay": 0.9, **HALF}
    whole = train(make_job(output="whole", **settings), quiet)
    train(make_job(output="part", **{**settings, "steps": 2}), quiet)
    part = train(make_job(output="part", **settings), quiet)
    states = [load_file(result.checkpoints[-1] / checkpoint.STATE) for result in (whole, part)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_run_of_one_way_is_not_gone_on_with_in_the_other(make_job: Make) -> None:
    train(make_job(steps=1, precision="bf16"), quiet)
    with pytest.raises(ValueError, match=r"train\.working_weights is None there and 'bf16' here"):
        train(make_job(steps=2, **HALF), quiet)


def test_working_weights_in_bf16_need_precision_bf16() -> None:
    with pytest.raises(ValidationError, match="working_weights bf16 needs precision bf16, and precision is fp32"):
        TrainStageConfig(steps=1, precision="fp32", working_weights="bf16")


def a_run(make_job: Make) -> tuple[checkpoint.Trained, checkpoint.Meta]:
    """The state of a short run, with an average, and its checkpoint's record."""
    from fye_model.training.start import start

    job = make_job(steps=2, ema_decay=0.5)
    path = train(job, quiet).checkpoints[-1]
    trained, _ = start(job, Networks.load(path), (2, path), torch.device("cpu"))
    return trained, checkpoint.read_meta(path)


def test_a_checkpoint_written_in_the_background_is_the_state_at_the_time_it_was_asked_for(
    make_job: Make, tmp_path: Path
) -> None:
    trained, meta = a_run(make_job)
    at_once = checkpoint.Saver(background=False)
    at_once.save(tmp_path / "now", trained, meta, None, 3)
    saver = checkpoint.Saver(background=True)
    saver.save(tmp_path / "later", trained, meta, None, 3)
    with torch.no_grad():  # what training does meanwhile
        for parameter in trained.parameters.values():
            parameter.zero_()
    saver.close()
    for kind in ("denoiser/diffusion_pytorch_model.safetensors", checkpoint.STATE):
        now, later = (load_file(tmp_path / name / "checkpoint-000002" / kind) for name in ("now", "later"))
        assert now.keys() == later.keys()
        assert all(torch.equal(value, later[name]) for name, value in now.items()), kind


def test_what_goes_wrong_in_the_background_is_raised_by_the_next_call(make_job: Make, tmp_path: Path) -> None:
    trained, meta = a_run(make_job)
    (tmp_path / "file").write_text("no folder can be made here")
    saver = checkpoint.Saver(background=True)
    saver.save(tmp_path / "file" / "out", trained, meta, None, 3)
    with pytest.raises(OSError, match="Not a directory"):
        saver.close()


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"precision": "fp32"}, "set train.stage1.precision to bf16"),
        ({"precision": "bf16"}, "set train.stage1.working_weights to bf16"),
        ({**HALF, "accumulate": 1, "batch_size": 6}, "set train.stage1.accumulate to 2"),
        ({**HALF, "accumulate": 2, "batch_size": 6}, "set train.stage1.accumulate to 3"),
        ({**HALF, "accumulate": 6, "batch_size": 6}, "set train.stage1.gradient_checkpointing to true"),
        ({**HALF, "accumulate": 6, "batch_size": 6, "gradient_checkpointing": True}, "set runtime.offload to true"),
        (
            {**HALF, "accumulate": 6, "batch_size": 6, "gradient_checkpointing": True, "ema_decay": 0.9},
            "a smaller clips.size",
        ),
    ],
)
def test_out_of_memory_names_the_next_setting_to_change(
    make_job: Make, settings: dict[str, str | int | bool], advice: str
) -> None:
    assert advice in memory_advice(make_job(**settings), 1)


def test_what_a_card_of_24_gb_cannot_hold_beside_a_step_is_offloaded_and_what_one_of_80_gb_can_is_not() -> None:
    networks, motion = 1_720_000_000, 450_000_000  # of stage 1, of stage 2
    assert too_large(networks, 0, 24 << 30) and too_large(motion, networks, 24 << 30)
    assert not too_large(networks, 0, 80 << 30) and not too_large(motion, networks, 80 << 30)


def test_portions_hold_all_tensors_in_order_and_never_more_than_asked_for_but_one_that_is_larger() -> None:
    assert split([3, 3, 3, 9, 1, 1], 6) == [[0, 1], [2], [3], [4, 5]]


@pytest.mark.parametrize("settings", [{"precision": "bf16"}, {**HALF, "ema_decay": 0.9}])
def test_offloading_needs_working_weights_and_no_average(make_job: Make, settings: dict[str, str | float]) -> None:
    with pytest.raises(ValueError, match=r"runtime\.offload needs train\.stage1\.working_weights bf16 and ema_decay 0"):
        make_job(job={"offload": True}, **settings)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with Triton")
def test_offloaded_weights_come_to_the_same_bits(make_job: Make) -> None:
    runs = []
    for offload in (False, True):
        job = make_job(output=f"offload-{offload}", job={"offload": offload, "device": "cuda"}, steps=4, **HALF)
        told: list[str] = []
        runs.append(load_file(train(job, told.append).checkpoints[-1] / checkpoint.STATE))
        assert any("runtime.offload" in line for line in told) == offload
    assert all(torch.equal(value, runs[1][name]) for name, value in runs[0].items())


def test_the_work_of_a_sample_grows_with_its_pixels_and_frames(make_job: Make, tmp_path: Path) -> None:
    one = sample_work(make_job(), 32, 8, 4, (5, 6))
    assert 3.5 * one < sample_work(make_job(), 64, 8, 4, (5, 6)) < 6 * one
    job = make_job(2, job={"init": tmp_path})
    assert sample_work(job, 32, 8, 4, (5, 6)) > one


def test_work_is_counted_as_pytorch_does_and_touches_no_other_thread() -> None:
    layer = torch.nn.Conv2d(3, 5, 3)
    pictures, heads = torch.randn(2, 3, 9, 9, requires_grad=True), torch.randn(1, 2, 7, 4, requires_grad=True)

    def compute() -> None:
        layer(pictures).sum().backward()
        (torch.nn.functional.scaled_dot_product_attention(heads, heads, heads) @ torch.ones(4, 6)).sum().backward()

    with FlopCounterMode(display=False) as theirs:
        compute()
    with WorkCounter() as ours:
        compute()
        assert not torch.nn.modules.module._global_forward_pre_hooks
        elsewhere = threading.Thread(target=compute)
        elsewhere.start()
        elsewhere.join()
    assert ours.total == theirs.get_total_flops() > 0


def test_latents_stay_in_single_precision_where_half_would_overflow() -> None:
    torch.manual_seed(0)
    config = AutoencoderConfig(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4)
    vae = build_autoencoder(config, 32).eval()
    frames = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    half = in_half_precision(vae, frames)
    assert half is not vae and half.dtype == torch.float16
    with torch.no_grad():
        vae.encoder.conv_in.weight.mul_(1e7)
    assert in_half_precision(vae, frames) is vae


def test_loaders_start_before_this_process_has_imported_torch_and_import_no_network_library() -> None:
    code = "import sys, fye_model.training.__main__; first = set(sys.modules); import fye_model.training.loader; "
    code += "from fye_model.training.beginning import LOADER; sys.modules[LOADER].Batches; "
    code += "print('torch' in first, [m for m in ('diffusers', 'transformers', 'tensorboard') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.stdout.strip() == "False []", done.stderr
