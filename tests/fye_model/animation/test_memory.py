"""Saving graphics memory changes nothing but the time, is chosen by what is free, and goes on where that errs."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from accelerate import cpu_offload

from fye_model.animation.memory import Saving, choose_saving, needed, on_card, place, save_more
from fye_model.config import SamplingConfig
from tests.fye_model.animation.tiny import build_tiny, describe_tiny


def _drawn(pipe: Any, portrait: Any, landmarks: Any, **settings: Any) -> torch.Tensor:
    how = {"num_inference_steps": 4, "generator": torch.Generator().manual_seed(0), "output_type": "latent"}
    return pipe(portrait, landmarks, **how, **settings).frames


@pytest.mark.parametrize("cache", [None, {"computed_steps": 3}, {"interval": 2, "depth": 1, "warmup_steps": 1}])
@pytest.mark.parametrize("fast", [False, True])
def test_halves_of_guidance_one_after_the_other_give_the_same(portrait, driver, cache: Any, fast: bool) -> None:
    pipe = build_tiny()
    if fast:
        pipe.enable_fast_path()
    together = _drawn(pipe, portrait, driver(5), step_cache=cache)
    counts: list[int] = []
    hook = pipe.denoiser.register_forward_pre_hook(lambda module, given: counts.append(len(given[1])))
    for _ in range(2):
        save_more(pipe)
    assert pipe.saving is Saving.HALVES
    apart = _drawn(pipe, portrait, driver(5), step_cache=cache)
    hook.remove()
    assert set(counts) == {1}
    torch.testing.assert_close(apart, together, rtol=1e-4, atol=1e-5)
    other = _drawn(pipe, portrait, driver(5), step_cache=cache, guidance_scale=1.0)
    assert (other - together).abs().max() > 1e-3, "guidance matters here"


def test_where_memory_does_not_suffice_more_is_saved_and_the_work_done_again(
    portrait, driver, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = build_tiny()
    exact = _drawn(pipe, portrait, driver(5))

    def too_much(module: torch.nn.Module, given: tuple[Any, ...]) -> None:
        if len(given[1]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")

    pipe.denoiser.register_forward_pre_hook(too_much)
    with caplog.at_level(logging.WARNING):
        found = _drawn(pipe, portrait, driver(5))
    assert pipe.saving is Saving.HALVES
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-5)
    assert [record.getMessage() for record in caplog.records if "did not suffice" in record.getMessage()][-1].endswith(
        "guidance in halves"
    )


@pytest.mark.parametrize("strategy", ["progressive", "overlap"])
def test_a_window_that_is_drawn_again_is_counted_from_where_it_began(portrait, driver, strategy: str) -> None:
    pipe, seen = build_tiny(), list[int]()
    pipe.denoiser.register_forward_pre_hook(lambda module, given: short(len(seen) == 2))

    def short(yes: bool) -> None:
        if yes and pipe.saving is Saving.NOTHING:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")

    def watch(pipe: Any, step: int, timestep: int, tensors: dict[str, Any]) -> None:
        seen.append(step)

    _drawn(pipe, portrait, driver(7), window=4, overlap=2, strategy=strategy, callback_on_step_end=watch)
    assert seen[:2] == [0, 1] and seen[2:] == list(range(12 if strategy == "progressive" else 4))


@pytest.mark.parametrize("alone", [False, True])
def test_what_diffusers_offloads_stays_where_it_puts_it(portrait, driver, alone: bool) -> None:
    """Its hooks, with the CPU as the card: between calls the weights are on no device."""
    exact = _drawn(build_tiny(), portrait, driver(5))
    pipe = build_tiny()
    for part in [pipe.denoiser] if alone else pipe.components.values():
        if isinstance(part, torch.nn.Module):
            cpu_offload(part, torch.device("cpu"))

    def too_much(module: torch.nn.Module, given: tuple[Any, ...]) -> None:
        if len(given[1]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")

    pipe.denoiser.register_forward_pre_hook(too_much)
    torch.testing.assert_close(_drawn(pipe, portrait, driver(5)), exact, rtol=1e-4, atol=1e-5)
    assert pipe.saving is Saving.HALVES and pipe._execution_device.type == "cpu"
    assert (pipe.denoiser.device.type, pipe.appearance_net.device.type) == ("meta", "cpu" if alone else "meta")


def test_where_nothing_is_left_to_save_the_error_says_what_to_do(portrait, driver) -> None:
    pipe = build_tiny()

    def never(module: torch.nn.Module, given: tuple[Any, ...]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")

    pipe.denoiser.register_forward_pre_hook(never)
    with pytest.raises(ValueError, match=r"does not suffice.*CUDA out of memory.*Draw fewer frames at once"):
        _drawn(pipe, portrait, driver(5))


def test_frames_are_decoded_one_at_a_time_once_memory_is_saved(portrait, driver) -> None:
    pipe = build_tiny()
    exact = pipe(portrait, driver(3), num_inference_steps=2, generator=torch.Generator().manual_seed(0)).frames
    sizes: list[int] = []
    decode = pipe.vae.decode
    pipe.vae.decode = lambda latents, **how: (sizes.append(len(latents)), decode(latents, **how))[1]
    save_more(pipe)
    frames = pipe(portrait, driver(3), num_inference_steps=2, generator=torch.Generator().manual_seed(0)).frames
    assert sizes == [1, 1, 1]
    assert all(a.getextrema() == b.getextrema() for a, b in zip(frames, exact, strict=True))


def test_the_portraits_networks_wait_outside() -> None:
    pipe = build_tiny()
    pipe.saving = Saving.PORTRAIT
    place(pipe, torch.device("meta"))
    where = {name: part.device.type for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    waiting = {"image_encoder", "appearance_net"}
    assert where == {name: "cpu" if name in waiting else "meta" for name in where}
    assert pipe._execution_device.type == "meta", "where the denoiser is"
    with pytest.raises(NotImplementedError, match="no data"), on_card(pipe, pipe.appearance_net):  # nothing comes back
        assert pipe.appearance_net.device.type == "meta" and pipe.image_encoder.device.type == "cpu"


def test_the_least_saving_that_fits_is_chosen() -> None:
    pipe = build_tiny()
    pipe.description = describe_tiny(size=512, sampling=SamplingConfig(window=16, guidance_scale=3.5))
    needs = [needed(pipe, pipe.description, saving) for saving in Saving]
    assert needs[0] > needs[1] > needs[2] > 0
    assert [choose_saving(pipe, free)[0] for free in (needs[0], needs[0] - 1, needs[1] - 1, 0)] == [0, 1, 2, 2]
    alone = describe_tiny(size=512, sampling=SamplingConfig(window=16, guidance_scale=1.0))
    assert needed(pipe, alone, Saving.PORTRAIT) == needed(pipe, alone, Saving.HALVES), "there are no halves"
    small = describe_tiny(size=256, sampling=SamplingConfig(window=16, guidance_scale=3.5))
    assert needed(pipe, small, Saving.NOTHING) < needs[0]
