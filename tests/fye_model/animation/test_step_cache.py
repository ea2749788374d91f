"""Skipped steps are extrapolated as the order says, and skipping fewer of them errs less."""

import pytest
import torch
from diffusers import DDIMScheduler

from fye_model.animation.sampler import Conditions, WindowSampler
from fye_model.animation.step_cache import StepCache, spaced
from fye_model.config import StepCacheConfig
from fye_model.diffusion import clean_estimate, prediction_of


@pytest.mark.parametrize("order", [0, 1, 2])
def test_extrapolation_is_exact_for_polynomials_of_its_order(order: int) -> None:
    cache = StepCache(StepCacheConfig(interval=3, order=order, warmup_steps=3), steps=20)

    def features(step: int) -> torch.Tensor:
        return torch.tensor([2.0, -1.0]) + sum(torch.tensor([0.3, 0.7]) * step**power for power in range(1, order + 1))

    for step in range(20):
        if cache.computes(step):
            cache.store(step, [features(step)])
            assert len(cache._history) <= order + 1, "of what the network computes inside, which is large, no more"
        else:
            torch.testing.assert_close(
                cache.extrapolate(step)[0], features(cache._history[-1][0] if not order else step)
            )


def test_the_first_the_warm_up_every_nth_and_the_last_step_are_computed() -> None:
    cache = StepCache(StepCacheConfig(interval=4, warmup_steps=3), steps=30)
    assert [step for step in range(30) if cache.computes(step)] == [0, 1, 2, 3, 7, 11, 15, 19, 23, 27, 29]
    assert cache.computed_steps == 11
    assert StepCache(StepCacheConfig(interval=1), steps=30).computed_steps == 30


def test_so_many_computed_steps_begin_and_end_and_stand_closer_at_both_ends() -> None:
    cache = StepCache(StepCacheConfig(computed_steps=8, interval=2, depth=1), steps=30)
    chosen = [step for step in range(30) if cache.computes(step)]
    assert chosen == [0, 6, 11, 16, 21, 24, 27, 29] and cache.computed_steps == 8
    assert cache.config.computed_levels == 0, "whole steps are skipped, whatever depth says"
    for steps in range(2, 60):
        for count in range(2, 14):
            found = spaced(min(count, steps), steps)
            assert found[0] == 0 and found[-1] == steps - 1
            assert found == sorted(set(found)) and len(found) == min(count, steps)
    assert StepCache(StepCacheConfig(computed_steps=12), steps=5).computed_steps == 5


@pytest.mark.parametrize("order", [0, 1])
def test_the_corrector_finds_the_exact_trajectory_where_the_clean_estimate_is_a_polynomial(order: int) -> None:
    steps = 20
    scheduler = DDIMScheduler(
        prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True, clip_sample=False
    )
    noise, one, two = (torch.randn(1, 4, 3, 2, 2, generator=torch.Generator().manual_seed(seed)) for seed in range(3))

    def sampled(cache: StepCacheConfig | None) -> torch.Tensor:
        def denoise(noisy, timesteps, context, landmarks, reference, given, plain):
            """A network whose clean estimate is a line (order 0) or a parabola over the steps."""
            step = scheduler.timesteps.tolist().index(int(timesteps[0]))
            clean = one * step / steps + (two * (step / steps) ** 2 if order else 0)
            return prediction_of(clean, noisy, float(scheduler.alphas_cumprod[int(timesteps[0])]), "v_prediction")

        made = None if cache is None else StepCache(cache, steps)
        where = torch.device("cpu")
        sampler = WindowSampler(
            denoise, scheduler, Conditions([], [], 1.0), steps, where, torch.float32, takes_given=False, cache=made
        )
        states: list[torch.Tensor] = []
        sampler.sample(noise, torch.zeros(1, 1, 3, 2, 2), on_step=lambda step, timestep, x: states.append(x))
        return states[-2]  # the last step forgets the latents: it goes to its clean estimate

    exact = sampled(None)
    skipping = {"computed_steps": 8, "order": order}

    def error(cache: StepCacheConfig) -> float:
        return float((sampled(cache) - exact).norm() / exact.norm())

    # The first two computed steps have no third one for a parabola; with a line nothing is missing.
    corrected, plain = error(StepCacheConfig(**skipping)), error(StepCacheConfig(**skipping, corrector=False))
    assert corrected < (0.1 * plain if order else 1e-5) and plain > 1e-3


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon"])
def test_clean_estimate_and_prediction_are_inverse(kind: str) -> None:
    output, noisy = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    clean = clean_estimate(noisy, output, 0.3, kind)
    torch.testing.assert_close(prediction_of(clean, noisy, 0.3, kind), output)
    if kind == "v_prediction":  # v = sqrt(a) noise - sqrt(1-a) clean, noisy = sqrt(a) clean + sqrt(1-a) noise
        noise = (noisy - 0.3**0.5 * clean) / 0.7**0.5
        torch.testing.assert_close(output, 0.3**0.5 * noise - 0.7**0.5 * clean)


def _run(pipe, portrait, driver, cache: StepCacheConfig | None) -> tuple[torch.Tensor, int]:
    calls = 0
    plain = WindowSampler.guided_prediction

    def counted(self, *args, **kwargs):
        nonlocal calls
        calls += "deep_features" not in kwargs
        return plain(self, *args, **kwargs)

    WindowSampler.guided_prediction = counted
    try:
        latents = pipe(
            portrait,
            driver(3),
            num_inference_steps=16,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
            step_cache=cache,
        ).frames
    finally:
        WindowSampler.guided_prediction = plain
    return latents, calls


@pytest.mark.parametrize("depth", [0, 1])
def test_interval_one_is_exact_and_longer_intervals_compute_less_and_err_more(
    tiny_pipe, portrait, driver, depth: int
) -> None:
    exact, full = _run(tiny_pipe, portrait, driver, None)
    same, _ = _run(tiny_pipe, portrait, driver, StepCacheConfig(interval=1, depth=depth))
    assert torch.equal(exact, same) and full == 16
    errors, calls = [], []
    for interval in (2, 5):
        latents, count = _run(tiny_pipe, portrait, driver, {"interval": interval, "depth": depth, "order": 1})
        errors.append(float((latents - exact).norm() / exact.norm()))
        calls.append(count)
    assert 0 < errors[0] < errors[1] < 0.5
    assert 16 > calls[0] > calls[1]


def test_correcting_beats_extrapolating_alone(tiny_pipe, portrait, driver) -> None:
    exact, _ = _run(tiny_pipe, portrait, driver, None)
    errors = {}
    for corrector in (True, False):
        latents, calls = _run(tiny_pipe, portrait, driver, {"computed_steps": 6, "corrector": corrector})
        assert calls == 6
        errors[corrector] = float((latents - exact).norm() / exact.norm())
    assert 0 < errors[True] < 0.8 * errors[False]


def test_latents_that_a_callback_changed_are_not_taken_back_by_the_corrector(tiny_pipe, portrait, driver) -> None:
    seen: dict[int, torch.Tensor] = {}

    def changed(pipe, step: int, timestep: int, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
        seen[step] = tensors["latents"]
        return {"latents": torch.full_like(tensors["latents"], 5.0)} if step == 8 else None

    cache = StepCache(StepCacheConfig(computed_steps=5), 16)
    following = next(step for step in range(9, 16) if cache.computes(step))
    assert not cache.computes(8) and following > 9
    arguments = {"num_inference_steps": 16, "generator": torch.Generator().manual_seed(0), "output_type": "latent"}
    tiny_pipe(portrait, driver(3), **arguments, step_cache={"computed_steps": 5}, callback_on_step_end=changed)
    assert (seen[9] - 5).abs().mean() < 2 and (seen[following] - 5).abs().mean() < 3
    assert (seen[7] - 5).abs().mean() > 4


def test_a_callback_that_hands_latents_back_as_they_were_changes_nothing(tiny_pipe, portrait, driver) -> None:
    def drawn(callback) -> torch.Tensor:
        arguments = {"num_inference_steps": 16, "generator": torch.Generator().manual_seed(0), "output_type": "latent"}
        how = {"step_cache": {"computed_steps": 5}, "callback_on_step_end": callback}
        return tiny_pipe(portrait, driver(3), **arguments, **how).frames

    def nudged(pipe, step: int, timestep: int, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if step == 8:
            tensors["latents"].add_(1)
        return tensors

    watched = drawn(lambda pipe, step, timestep, tensors: tensors)
    torch.testing.assert_close(watched, drawn(None), rtol=0, atol=0)
    assert (drawn(nudged) - watched).abs().max() > 0.1, "written into in place, they are changed"


def test_extrapolating_beats_reusing_on_a_smooth_trajectory(tiny_pipe, portrait, driver) -> None:
    exact, _ = _run(tiny_pipe, portrait, driver, None)
    reuse, _ = _run(tiny_pipe, portrait, driver, StepCacheConfig(interval=3, order=0, depth=0))
    taylor, _ = _run(tiny_pipe, portrait, driver, StepCacheConfig(interval=3, order=1, depth=0))
    assert (taylor - exact).norm() < (reuse - exact).norm()
