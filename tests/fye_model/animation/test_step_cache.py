"""Skipped steps are extrapolated as the order says, and skipping fewer of them errs less."""

import pytest
import torch

from fye_model.animation.sampler import WindowSampler
from fye_model.animation.step_cache import StepCache
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
        else:
            torch.testing.assert_close(
                cache.extrapolate(step)[0], features(cache._history[-1][0] if not order else step)
            )


def test_the_first_the_warm_up_every_nth_and_the_last_step_are_computed() -> None:
    cache = StepCache(StepCacheConfig(interval=4, warmup_steps=3), steps=30)
    assert [step for step in range(30) if cache.computes(step)] == [0, 1, 2, 3, 7, 11, 15, 19, 23, 27, 29]
    assert cache.computed_steps == 11
    assert StepCache(StepCacheConfig(interval=1), steps=30).computed_steps == 30


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


def test_extrapolating_beats_reusing_on_a_smooth_trajectory(tiny_pipe, portrait, driver) -> None:
    exact, _ = _run(tiny_pipe, portrait, driver, None)
    reuse, _ = _run(tiny_pipe, portrait, driver, StepCacheConfig(interval=3, order=0, depth=0))
    taylor, _ = _run(tiny_pipe, portrait, driver, StepCacheConfig(interval=3, order=1, depth=0))
    assert (taylor - exact).norm() < (reuse - exact).norm()
