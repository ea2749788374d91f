"""Previews of held-out frames: what they show, that they change nothing, and that no run is lost for one."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import default_collate

from fye_model.config import AutoencoderConfig
from fye_model.networks import build_networks
from fye_model.networks.autoencoder import decode, load_autoencoder
from fye_model.training import checkpoint
from fye_model.training.autoencoder import build_autoencoder, save_folder
from fye_model.training.data import TrainingSamples
from fye_model.training.index import read_index
from fye_model.training.job import TrainJob
from fye_model.training.layers import lay_out
from fye_model.training.loop import TrainResult, train
from fye_model.training.previews import ITEMS, as_gif, sample_latents
from fye_model.training.progress import METRICS

Make = Callable[..., TrainJob]
SIDE = 32  # pixels of the small data set


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained, of the small data set's factor."""
    torch.manual_seed(3)
    config = AutoencoderConfig(block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4)
    folder = tmp_path_factory.mktemp("vae") / "vae"
    save_folder(build_autoencoder(config, SIDE), folder)
    return folder


def pictures(job: TrainJob) -> dict[int, bytes]:
    """The file of each step's preview, read as TensorBoard does."""
    events = EventAccumulator(str(job.output / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    if "preview" not in events.Tags()["images"]:
        return {}
    return {event.step: event.encoded_image_string for event in events.Images("preview")}


def made(job: TrainJob, result: TrainResult) -> tuple[str, list[dict[str, torch.Tensor]]]:
    """All numbers of a run: its curve, its networks and what a resumed run needs."""
    files = sorted(result.checkpoints[-1].rglob("*.safetensors"))
    return (job.output / METRICS).read_text(), [load_file(file) for file in files]


@pytest.mark.parametrize(("stage", "ema_decay"), [(1, 0.9), (2, 0.0)])
def test_a_run_with_previews_gives_the_bits_of_one_without_also_when_it_is_resumed(
    make_job: Make, autoencoder: Path, monkeypatch: pytest.MonkeyPatch, stage: int, ema_decay: float
) -> None:
    monkeypatch.setattr("fye_model.training.previews.MOST_SHARE", 1e9)  # every one is made
    start = None if stage == 1 else train(make_job(steps=1, output="start"), print).checkpoints[-1]
    settings = {"stage": stage, "ema_decay": ema_decay}
    plain = make_job(output="plain", job={"init": start}, **settings)
    shown = make_job(output="shown", job={"init": start, "previews": autoencoder}, **settings)
    text, tensors = made(plain, train(plain, print))
    train(shown.model_copy(update={"train": shown.train.model_copy(update={"steps": 2})}), print)
    text_shown, tensors_shown = made(shown, train(shown, print))
    assert text_shown == text
    for ours, theirs in zip(tensors_shown, tensors, strict=True):
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)
    found = pictures(shown)
    assert sorted(found) == [2, 4] and found[2] != found[4], "what training changes is seen"
    assert pictures(plain) == {}


def test_a_preview_shows_reference_landmarks_result_and_truth(make_job: Make, autoencoder: Path, data: Path) -> None:
    job = make_job(steps=2, job={"previews": autoencoder})
    train(job, print)
    with Image.open(io.BytesIO(pictures(job)[2])) as picture:
        pixels = np.asarray(picture)
    assert picture.format == "PNG" and pixels.shape == (ITEMS * SIDE, 4 * SIDE, 3)
    samples = TrainingSamples(read_index(data), job.train, None, job.noise.train_timesteps, part="val")
    vae = load_autoencoder(autoencoder)
    for row in range(ITEMS):
        sample = samples[0, row]
        reference, landmarks, result, truth = np.split(pixels[row * SIDE : (row + 1) * SIDE], 4, axis=1)
        assert np.array_equal(reference, decode(vae, sample["reference_latent"][None])[0].numpy())
        assert np.array_equal(landmarks, sample["landmarks"][:, 0].permute(1, 2, 0).numpy())
        assert np.array_equal(truth, decode(vae, sample["latents"][None, :, 0])[0].numpy())
        assert not np.array_equal(result, truth)


def test_a_clip_is_shown_moving(make_job: Make, autoencoder: Path) -> None:
    start = train(make_job(steps=1, output="start"), print).checkpoints[-1]
    job = make_job(stage=2, steps=1, job={"init": start, "previews": autoencoder})
    train(job, print)
    with Image.open(io.BytesIO(pictures(job)[1])) as picture:
        assert (picture.format, picture.n_frames, picture.size) == ("GIF", job.train.frames, (4 * SIDE, SIDE))


def test_large_pictures_are_made_smaller_and_keep_their_rate() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 64, 256, 3), np.uint8)
    found = as_gif(frames, 0.5, 25.0)
    with Image.open(io.BytesIO(found.data)) as picture:
        assert picture.size == (found.width, found.height) == (128, 32)
        assert picture.n_frames == 3 and picture.info["duration"] == 40


@pytest.mark.parametrize("kind", ["missing", "of other latents"])
def test_an_autoencoder_that_does_not_fit_costs_the_previews_and_not_the_run(
    make_job: Make, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "other"
    if kind == "of other latents":
        config = AutoencoderConfig(block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=8)
        save_folder(build_autoencoder(config, SIDE), folder)
    lines: list[str] = []
    job = make_job(job={"previews": folder})
    assert train(job, lines.append).finished
    assert len([line for line in lines if line.startswith("previews are left out from here on (")]) == 1
    assert pictures(job) == {} and len(checkpoint.list_checkpoints(job.output)) == 2


def test_nothing_is_sampled_where_no_board_is_left_to_show_it(make_job: Make, tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # no folder for TensorBoard
    lines: list[str] = []
    train(make_job(job={"previews": tmp_path / "missing", "board": tmp_path / "file"}), lines.append)
    assert len([line for line in lines if line.startswith("tensorboard is left out")]) == 1
    assert not [line for line in lines if line.startswith("previews")], "the missing autoencoder would have been seen"


@pytest.mark.parametrize("stage", [1, 2])
def test_an_offloaded_runs_working_layers_sample_what_the_plain_ones_do(make_job: Make, data: Path, stage: int) -> None:
    job = make_job(stage=stage, job={"init": data if stage == 2 else None})
    covering = job.covering if stage == 2 else None
    samples = TrainingSamples(read_index(data), job.train, covering, job.noise.train_timesteps, part="val")
    batch = default_collate([samples[0, item] for item in range(2)])
    torch.manual_seed(0)
    plain = build_networks(job.networks, samples.image_encoder_dim, samples.latent_channels).eval()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))  # none is left at zero
    working = copy.deepcopy(plain)
    assert lay_out(working)
    found, expected = sample_latents(working, job, batch), sample_latents(plain, job, batch)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_previews_take_a_small_share_of_a_run(make_job: Make, autoencoder: Path) -> None:
    job = make_job(steps=8, checkpoint_every=1, keep_last=1, validate_every=1, job={"previews": autoencoder})
    train(job, print)
    found = pictures(job)
    assert {1, 8} <= found.keys() and len(found) < 8, "first and last, and not one for each of these short steps"
