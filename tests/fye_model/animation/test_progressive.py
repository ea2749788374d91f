"""Keyframes survive infilling, frames come in order and once at any length, and memory is flat."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch

from fye_model.animation.inputs import StoredLandmarks
from fye_model.animation.progressive import FrameNoise, progressive_latents
from fye_model.animation.schedule import progressive_windows


def _label(window, kept):
    """Latents that carry their frame's number; what is kept is passed on, changed values would show."""
    latents = torch.tensor([float(frame) for frame in window.frames])[None, None, :, None, None].expand(1, 4, -1, 2, 2)
    if kept is None:
        return latents
    given = torch.tensor(window.given)[None, None, :, None, None]
    assert torch.equal(kept, torch.where(given, latents, 0)), "a given frame is not what was finished before"
    return torch.where(given, -1.0, latents)  # what comes back for given frames must be ignored


def test_frames_come_in_order_and_once_at_any_length() -> None:
    for length in [*range(1, 120), 225, 226, 227, 241, 242, 499, 500]:
        parts = list(progressive_latents(progressive_windows(length), _label))
        got = torch.cat(parts, dim=2)[0, 0, :, 0, 0]
        assert got.tolist() == list(range(length))


def test_finished_latents_are_forgotten_so_that_memory_does_not_grow_with_the_length() -> None:
    def most_alive(length: int) -> int:
        alive: list[weakref.ref] = []
        most = 0

        def make(window, kept):
            nonlocal most
            most = max(most, sum(item() is not None for item in alive))
            latents = torch.zeros(1, 4, len(window.frames), 2, 2)
            alive.append(weakref.ref(latents))
            return latents

        kept_sizes = []
        for part in progressive_latents(progressive_windows(length), make):
            kept_sizes.append(part.shape[2])
        assert sum(kept_sizes) == length
        return max(most, max(kept_sizes))

    assert most_alive(2000) <= most_alive(200) + 1 <= 20


def test_noise_of_a_frame_depends_on_the_seed_and_the_frame_alone() -> None:
    first = FrameNoise((4, 2, 2), torch.device("cpu"), torch.Generator().manual_seed(5))
    again = FrameNoise((4, 2, 2), torch.device("cpu"), torch.Generator().manual_seed(5))
    other = FrameNoise((4, 2, 2), torch.device("cpu"), torch.Generator().manual_seed(6))
    assert torch.equal(first([7, 9])[:, :, 1], again([9, 3, 500])[:, :, 0])
    assert not torch.equal(first([7]), other([7])) and not torch.equal(first([7]), first([8]))
    many = first(range(400))
    assert abs(float(many.mean())) < 0.05 and abs(float(many.std()) - 1) < 0.05
    neighbours = torch.corrcoef(torch.stack([many[0, :, :-1].flatten(), many[0, :, 1:].flatten()]))
    assert abs(float(neighbours[0, 1])) < 0.05


@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
def test_frames_have_the_asked_share_of_noise_in_common_and_its_size_stays(share: float) -> None:
    noise = FrameNoise((4, 16, 16), torch.device("cpu"), torch.Generator().manual_seed(5), shared=share)
    many = noise(range(60))[0].permute(1, 0, 2, 3).flatten(1)
    assert float(many.std(dim=1).mean()) == pytest.approx(1, abs=0.05)
    between = torch.corrcoef(many)[~torch.eye(60, dtype=torch.bool)]
    assert float(between.mean()) == pytest.approx(share, abs=0.05)
    assert torch.equal(noise([7])[0, :, 0], noise([3, 7])[0, :, 1])


def test_keyframes_of_a_real_run_survive_infilling(tiny_pipe, portrait, driver) -> None:
    seen: dict[int, torch.Tensor] = {}
    windows = progressive_windows(11, 4)
    steps = 3

    def remember(pipe, step, timestep, tensors):
        if step == steps - 1:
            seen.update(zip(windows[0].frames, tensors["latents"][0].unbind(1), strict=True))

    result = tiny_pipe(
        portrait,
        driver(11),
        num_inference_steps=steps,
        window=4,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
        callback_on_step_end=remember,
    ).frames
    assert sorted(seen) == list(windows[0].frames)
    for frame, latents in seen.items():
        assert torch.equal(result[0, :, frame], latents)


def test_infilled_frames_depend_on_the_keyframes_they_lie_between(tiny_pipe, portrait, driver) -> None:
    def run(change: float) -> torch.Tensor:
        def nudge(pipe, step, timestep, tensors):
            return {"latents": tensors["latents"] + change} if step == 1 else None  # the end of the keyframe window

        return tiny_pipe(
            portrait,
            driver(7),
            num_inference_steps=2,
            window=4,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
            callback_on_step_end=nudge,
        ).frames

    moved = (run(0.5) - run(0.0)).abs().amax(dim=(0, 1, 3, 4))
    assert (moved > 1e-4).all()


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 9, 10, 11, 28, 29])
def test_a_real_run_gives_every_frame_at_any_length(tiny_pipe, portrait, driver, length: int) -> None:
    frames = tiny_pipe(portrait, driver(length), num_inference_steps=1, window=4, output_type="np").frames
    assert frames.shape == (length, 32, 32, 3) and np.isfinite(frames).all()
    assert len(np.unique(frames.reshape(length, -1), axis=0)) == length


def test_a_stream_never_asks_for_more_pictures_than_a_window_nor_decodes_more_than_it_may(
    tiny_pipe, portrait, driver
) -> None:
    asked = []

    class Counted(StoredLandmarks):
        def pictures(self, frames):
            asked.append(len(frames))
            return super().pictures(frames)

    stream = tiny_pipe.stream(
        portrait, Counted(driver(60)), num_inference_steps=1, window=4, output_type="np", decode_chunk_size=2
    )
    sizes = []
    for part in stream:
        sizes.append(len(part))
        if len(sizes) == 1:
            assert sum(asked) < 20, "the first frames come before the whole driver was looked at"
    assert max(asked) <= 4 and max(sizes) <= 2 and sum(sizes) == 60
