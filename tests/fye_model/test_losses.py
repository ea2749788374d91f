"""The FFG loss against values worked out by hand, and its gradient against finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from fye_model.config import LossConfig
from fye_model.diffusion import add_noise, clean_estimate, prediction_target
from fye_model.losses import masked_error, timestep_weight, training_loss


def tensor(*values: float) -> torch.Tensor:
    """A (1, 1, 1, 1, n) row of latents."""
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, 1, -1)


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
def test_perfect_output_gives_back_the_clean_latent(prediction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, 3, 4, 2, 5, 5, generator=generator, dtype=torch.float64)
    alpha_bar = torch.tensor([0.9, 0.3, 0.01], dtype=torch.float64)
    noisy = add_noise(latents, noise, alpha_bar)
    target = prediction_target(latents, noise, alpha_bar, prediction)
    estimate = clean_estimate(noisy, target, alpha_bar, prediction)
    torch.testing.assert_close(estimate, latents, rtol=0, atol=1e-12)


def test_v_prediction_estimate_at_zero_signal_is_minus_the_output() -> None:
    estimate = clean_estimate(tensor(3.0), tensor(0.5), torch.tensor([0.0]), "v_prediction")
    assert estimate.item() == -0.5


def test_epsilon_estimate_is_bounded_by_the_floor_at_zero_signal() -> None:
    estimate = clean_estimate(tensor(3.0), tensor(2.0), torch.tensor([0.0]), "epsilon", min_alpha_bar=0.01)
    assert estimate.item() == pytest.approx((3.0 - 2.0) / 0.1)


def test_an_unknown_prediction_is_an_error() -> None:
    with pytest.raises(ValueError, match="sample"):
        clean_estimate(tensor(1.0), tensor(1.0), torch.tensor([0.5]), "sample")


@pytest.mark.parametrize(
    ("norm_p", "expected"),
    [(1.0, (0.5 * 1 + 1 * 3) / 1.5), (2.0, (0.5 * 1 + 1 * 9) / 1.5), (3.0, (0.5 * 1 + 1 * 27) / 1.5)],
)
def test_masked_error_by_hand(norm_p: float, expected: float) -> None:
    target, estimate = tensor(0.0, 0.0, 5.0), tensor(1.0, -3.0, 0.0)
    mask = torch.tensor([0.5, 1.0, 0.0], dtype=torch.float64).view(1, 1, 1, 3)
    assert masked_error(target, estimate, mask, norm_p).item() == pytest.approx(expected, rel=1e-6)


def test_masked_error_divides_by_channels_and_keeps_items_apart() -> None:
    target = torch.zeros(2, 4, 3, 2, 2, dtype=torch.float64)
    estimate = torch.full_like(target, 2.0)
    estimate[1] = 1.0
    mask = torch.ones(2, 3, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(
        masked_error(target, estimate, mask), torch.tensor([4.0, 1.0], dtype=torch.float64), rtol=1e-6, atol=0
    )


def test_a_full_mask_makes_the_term_the_plain_mean_square() -> None:
    generator = torch.Generator().manual_seed(1)
    target, estimate = torch.randn(2, 1, 4, 2, 3, 3, generator=generator, dtype=torch.float64)
    full = torch.ones(1, 2, 3, 3, dtype=torch.float64)
    assert masked_error(target, estimate, full).item() == pytest.approx(
        (target - estimate).square().mean().item(), rel=1e-6
    )


@pytest.mark.parametrize("norm_p", [1.0, 1.5, 2.0])
def test_an_empty_mask_gives_zero_and_a_zero_gradient_never_nan(norm_p: float) -> None:
    target, estimate = tensor(1.0, 2.0), tensor(5.0, 2.0).requires_grad_()
    value = masked_error(target, estimate, torch.zeros(1, 1, 1, 2), norm_p)
    value.sum().backward()
    assert value.item() == 0.0
    assert torch.equal(estimate.grad, torch.zeros_like(estimate))


def test_area_averaged_fractions_weigh_cells_by_their_cover() -> None:
    mask = tensor(0.5, 0.0)[0]  # half of the first cell, none of the second
    both = tensor(1.0, 100.0)
    assert masked_error(torch.zeros_like(both), both, mask).item() == pytest.approx(1.0, rel=1e-5)


def test_timestep_weights_by_hand() -> None:
    timesteps, alpha_bar = torch.tensor([0, 250, 999]), torch.tensor([0.9999, 0.5, 0.0], dtype=torch.float64)
    none = timestep_weight(timesteps, alpha_bar, LossConfig(), 1000)
    linear = timestep_weight(timesteps, alpha_bar, LossConfig(timestep_weight="linear"), 1000)
    min_snr = timestep_weight(timesteps, alpha_bar, LossConfig(timestep_weight="min_snr", min_snr_gamma=5), 1000)
    assert none.tolist() == [1, 1, 1]
    assert linear.tolist() == pytest.approx([1, 0.75, 0.001])
    assert min_snr.tolist() == pytest.approx([5, 1, 0])


def batch(prediction: str, seed: int = 0, items: int = 2) -> dict:
    generator = torch.Generator().manual_seed(seed)
    latents, noise, output = torch.randn(3, items, 2, 2, 2, 3, generator=generator, dtype=torch.float64)
    alpha_bar = torch.tensor([0.8, 0.2], dtype=torch.float64)[:items]
    expression, face = torch.rand(2, items, 2, 2, 3, generator=generator, dtype=torch.float64)
    return {
        "output": output,
        "target": prediction_target(latents, noise, alpha_bar, prediction),
        "noisy": add_noise(latents, noise, alpha_bar),
        "latents": latents,
        "timesteps": torch.tensor([100, 700])[:items],
        "alpha_bar": alpha_bar,
        "expression_mask": expression,
        "face_mask": face,
        "prediction": prediction,
        "train_timesteps": 1000,
    }


def test_total_is_the_declared_sum_and_each_lambda_switches_its_own_term() -> None:
    data = batch("v_prediction")
    config = LossConfig(lambda_expression=0.5, lambda_face=2.0)
    terms = training_loss(**data, config=config)
    expected = terms.diffusion + 0.5 * terms.expression + 2.0 * terms.face
    assert terms.total.item() == pytest.approx(expected.item(), rel=1e-12)
    assert set(terms.detached()) == {"loss", "loss_diffusion", "loss_expression", "loss_face"}

    without_face = training_loss(**data, config=LossConfig(lambda_face=0.0))
    assert without_face.total.item() == pytest.approx((terms.diffusion + terms.expression).item(), rel=1e-12)
    assert without_face.face.item() == terms.face.item(), "a term that is switched off is still logged"


def test_ffg_term_of_v_prediction_is_the_v_error_scaled_by_the_noise_share() -> None:
    # z - z' = sqrt(1 - a) (v' - v), so with p = 2 and full masks D = (1 - a) mean (v' - v)^2
    data = batch("v_prediction", items=1)
    data["expression_mask"] = torch.ones_like(data["expression_mask"])
    terms = training_loss(**data, config=LossConfig())
    share = 1 - data["alpha_bar"][0].item()
    assert terms.expression.item() == pytest.approx(share * terms.diffusion.item(), rel=1e-6)


def test_items_without_a_face_count_as_zero_not_as_missing() -> None:
    data = batch("v_prediction")
    data["expression_mask"][1] = 0
    both = training_loss(**data, config=LossConfig()).expression
    only = {key: value[:1] if isinstance(value, torch.Tensor) else value for key, value in data.items()}
    assert both.item() == pytest.approx(training_loss(**only, config=LossConfig()).expression.item() / 2, rel=1e-12)


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
@pytest.mark.parametrize("weight", ["none", "linear", "min_snr"])
@pytest.mark.parametrize("norm_p", [1.5, 2.0])
def test_gradient_agrees_with_finite_differences(prediction: str, weight: str, norm_p: float) -> None:
    data = batch(prediction)
    output = data.pop("output").requires_grad_()
    config = LossConfig(timestep_weight=weight, norm_p=norm_p)
    assert torch.autograd.gradcheck(lambda o: training_loss(output=o, **data, config=config).total, (output,))


def test_gradient_outside_both_masks_is_that_of_the_diffusion_term_alone() -> None:
    data = batch("v_prediction")
    for name in ("expression_mask", "face_mask"):
        data[name] = torch.zeros_like(data[name])
        data[name][..., 0] = 1.0
    output = data.pop("output").requires_grad_()
    training_loss(output=output, **data, config=LossConfig()).total.backward()
    plain = 2 * (output.detach() - data["target"]) / output.numel()
    torch.testing.assert_close(output.grad[..., 1:], plain[..., 1:], rtol=1e-12, atol=0)
    assert not torch.allclose(output.grad[..., 0], plain[..., 0])


def test_nothing_is_nan_at_the_zero_snr_end_for_either_prediction() -> None:
    for prediction in ("v_prediction", "epsilon"):
        data = batch(prediction)
        data["alpha_bar"] = torch.tensor([0.0, 0.0], dtype=torch.float64)
        for weight in ("none", "linear", "min_snr"):
            terms = training_loss(**data, config=LossConfig(timestep_weight=weight))
            assert all(math.isfinite(value.item()) for value in terms.detached().values())
