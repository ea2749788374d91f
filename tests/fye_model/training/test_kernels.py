"""Each kernel of the training step against plain PyTorch, values and gradients.

On a GPU with Triton they run as they are; without one under Triton's interpreter (`TRITON_INTERPRET=1`).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fye_model.training.kernels import adam, elementwise, frame_attention, group_norm, linear, residual_norm
from fye_model.training.kernels.support import interpreted, triton

pytestmark = pytest.mark.skipif(
    triton is None or not (torch.cuda.is_available() or interpreted()),
    reason="needs a GPU with Triton, or Triton's interpreter",
)
DEVICE = "cuda" if torch.cuda.is_available() and not interpreted() else "cpu"
HALF = torch.bfloat16 if DEVICE == "cuda" else torch.float32


def random(*shape: int) -> Tensor:
    return torch.randn(shape, device=DEVICE).to(HALF)


def check(ours: Callable[..., Tensor], plain: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Values and all gradients agree: exactly in single precision, within rounding in half."""
    ours_in = [x.detach().clone().requires_grad_() for x in inputs]
    plain_in = [x.detach().float().requires_grad_() for x in inputs]
    out, expected = ours(*ours_in), plain(*plain_in)
    weight = torch.randn_like(expected)
    out.float().mul(weight).sum().backward()
    expected.mul(weight).sum().backward()
    tolerance = 3e-2 if torch.bfloat16 == HALF else 1e-4
    for a, b in [(out, expected), *((x.grad, y.grad) for x, y in zip(ours_in, plain_in, strict=True))]:
        assert a is not None and b is not None and a.shape == b.shape
        error = (a.float() - b).norm() / b.norm().clamp(min=1e-6)
        assert error < tolerance, f"relative error {error:.2e} of {tuple(a.shape)}"


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("with_added", [False, True])
@pytest.mark.parametrize(("channels", "side", "groups"), [(24, 5, 4), (80, 18, 8)])
def test_group_norm(silu: bool, with_added: bool, channels: int, side: int, groups: int) -> None:
    torch.manual_seed(0)

    def norm(weight: Tensor, bias: Tensor) -> nn.GroupNorm:
        layer = nn.GroupNorm(groups, channels, device=DEVICE)
        del layer.weight, layer.bias
        layer.weight, layer.bias = weight, bias  # type: ignore[assignment]  # plain tensors, to see their gradients
        return layer

    def run(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(x: Tensor, weight: Tensor, bias: Tensor, added: Tensor | None = None) -> Tensor:
            return function(x, norm(weight, bias), silu, added)

        return call

    image = (2 * random(2, channels, side, side) + 1).to(memory_format=torch.channels_last)
    inputs = [image, random(channels), random(channels)]
    if with_added:
        inputs.append(random(2, channels))
    check(run(group_norm.group_norm), run(group_norm.reference), *inputs)


def test_group_norm_leaves_a_frozen_layers_weights_alone() -> None:
    layer = nn.GroupNorm(4, 16, device=DEVICE, dtype=HALF).requires_grad_(False)
    image = random(2, 16, 4, 4).requires_grad_()
    group_norm.group_norm(image, layer, True).sum().backward()
    assert image.grad is not None and layer.weight.grad is None


def test_gated_layer() -> None:
    check(elementwise.gated, elementwise.gated_reference, random(2, 7, 96))


def test_gated_layer_with_its_bias() -> None:
    check(linear.gated, linear.gated_reference, random(2, 300, 136), random(136))


def test_linear_layer() -> None:
    torch.manual_seed(0)
    check(linear.linear, torch.nn.functional.linear, random(3, 290, 20), random(70, 20), random(70))


@pytest.mark.parametrize("by_kernel", [False, True])
def test_bias_and_residual(by_kernel: bool) -> None:
    def add(x: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
        return elementwise.add_bias(x, bias, residual, by_kernel)

    check(add, elementwise.add_bias_reference, random(2, 9, 24), random(24), random(2, 9, 24))


@pytest.mark.parametrize("given", ["sum and bias", "sum", "tokens alone"])
@pytest.mark.parametrize(("rows", "channels"), [(70, 24), (9, 640)])
def test_residual_sum_and_its_norm(given: str, rows: int, channels: int) -> None:
    torch.manual_seed(0)

    def run(function: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., Tensor]:
        def call(
            weight: Tensor, shift: Tensor, tokens: Tensor, added: Tensor | None = None, bias: Tensor | None = None
        ) -> Tensor:
            layer = nn.LayerNorm(channels, device=DEVICE)
            del layer.weight, layer.bias
            layer.weight, layer.bias = weight, shift  # type: ignore[assignment]
            total, normed = function(tokens, added, bias, layer)
            return torch.cat([2 * total, normed], -1)

        return call

    inputs = [random(channels), random(channels), 2 * random(2, rows, channels) + 1]
    inputs += {"sum and bias": [random(2, rows, channels), random(channels)], "sum": [random(2, rows, channels)]}.get(
        given, []
    )
    check(run(residual_norm.residual_norm), run(residual_norm.reference), *inputs)


def test_residual_norm_leaves_frozen_weights_alone() -> None:
    layer = nn.LayerNorm(24, device=DEVICE, dtype=HALF).requires_grad_(False)
    tokens, added = random(2, 50, 24).requires_grad_(), random(2, 50, 24).requires_grad_()
    total, normed = residual_norm.residual_norm(tokens, added, random(24), layer)
    (total + normed).sum().backward()
    assert tokens.grad is not None and added.grad is not None and layer.weight.grad is None
    assert torch.equal(tokens.grad, added.grad)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("marked", [None, [False, True]])
def test_join_of_own_and_shared_tokens(frames: int, marked: list[bool] | None) -> None:
    alone = None if marked is None else torch.tensor(marked, device=DEVICE)
    check(
        lambda own, shared: elementwise.join(own, shared, alone, frames),
        lambda own, shared: elementwise.join_reference(own, shared, alone, frames),
        random(2 * frames, 30, 40),
        random(2, 30, 40),
    )


@pytest.mark.parametrize(("frames", "heads", "width"), [(16, 2, 8), (5, 2, 40), (24, 1, 72)])
def test_frame_attention(frames: int, heads: int, width: int) -> None:
    check(
        lambda qkv: frame_attention.frame_attention(qkv, heads),
        lambda qkv: frame_attention.reference(qkv, heads),
        random(2, frames, 3, 3 * heads * width),
    )


@pytest.mark.parametrize("with_average", [False, True])
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_fused_adam_is_adamw_with_clip_average_and_a_working_copy(with_average: bool, kind: torch.dtype) -> None:
    torch.manual_seed(0)
    shapes = [(3,), (70, 300), (8, 4, 3, 3)]

    def layout(tensor: Tensor) -> Tensor:
        return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    masters = [layout(torch.randn(shape, device=DEVICE)) for shape in shapes]
    expected = [torch.nn.Parameter(x.clone()) for x in masters]
    optimizer = torch.optim.AdamW(expected, lr=1e-2, weight_decay=0.1)
    moved = adam.Moved(
        masters=masters,
        grads=[layout(torch.randn(shape, device=DEVICE).to(kind)) for shape in shapes],
        means=[torch.zeros_like(x) for x in masters],
        squares=[torch.zeros_like(x) for x in masters],
        averages=[x.clone() for x in masters] if with_average else [],
        working=[x.bfloat16() for x in masters],
    )
    averages = [x.clone() for x in masters]
    step = adam.FusedAdam(moved)
    for count in (1, 2):
        for parameter, grad in zip(expected, moved.grads, strict=True):
            parameter.grad = grad.float() * 0.25
        optimizer.step()
        averages = [a + 0.3 * (p.detach() - a) for a, p in zip(averages, expected, strict=True)]
        step(torch.tensor(0.25, device=DEVICE), adam.AdamStep(1e-2, 0.9, 0.999, 1e-8, 0.1, count, 0.3))
    torch.testing.assert_close(masters, [x.detach() for x in expected], rtol=1e-5, atol=1e-6)
    for half, master in zip(moved.working, masters, strict=True):  # Triton's interpreter cuts off, a GPU rounds
        torch.testing.assert_close(half.float(), master, rtol=2**-7 if interpreted() else 2**-8, atol=1e-6)
    if with_average:
        torch.testing.assert_close(list(moved.averages), averages, rtol=1e-5, atol=1e-6)
    before = [x.clone() for x in masters]
    step(torch.tensor(float("nan"), device=DEVICE), adam.AdamStep(1e-2, 0.9, 0.999, 1e-8, 0.1, 3, 0.3))
    assert all(torch.equal(a, b) for a, b in zip(before, masters, strict=True)), (
        "a step that is not finite moves nothing"
    )
