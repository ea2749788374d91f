"""A repeated call gives what the function gives, whatever becomes of its inputs."""

import pytest
import torch

from fye_model.fast.replay import Replay


def _function(x: torch.Tensor, others: list[torch.Tensor | None], factor: int) -> torch.Tensor:
    return factor * x + sum(other.mean() for other in others if other is not None)


def test_on_the_cpu_every_call_runs_as_it_is() -> None:
    replay, x = Replay(_function), torch.ones(3)
    for factor in (1, 2, 2, 2):
        torch.testing.assert_close(replay(x, [None, x], factor), factor * x + 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="recording needs a GPU")
def test_replaced_and_changed_inputs_are_seen_on_a_gpu() -> None:
    replay = Replay(_function)
    x, other = torch.randn(2, 5, device="cuda"), torch.randn(7, device="cuda")
    results = []
    for step in range(6):
        if step in (3, 4):
            other.add_(1)
        x = x.cos()
        results.append((replay(x, [other, None], 3), _function(x, [other, None], 3)))
    for got, expected in results:
        torch.testing.assert_close(got, expected)
    assert replay._graph is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="recording needs a GPU")
def test_another_size_or_number_is_computed_on_a_gpu() -> None:
    replay = Replay(_function)
    for size in (4, 4, 4, 6, 6, 6, 4):
        for factor in (2, 2, 2, 5):
            x = torch.randn(size, device="cuda")
            torch.testing.assert_close(replay(x, [x], factor), _function(x, [x], factor))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="recording needs a GPU")
def test_moved_weights_are_seen_on_a_gpu() -> None:
    layer = torch.nn.Linear(4, 4, device="cuda").requires_grad_(False)
    replay, x = Replay(layer, layer), torch.randn(2, 4, device="cuda")
    for _ in range(3):
        replay(x)
    layer.weight = torch.nn.Parameter(torch.randn(4, 4, device="cuda"), requires_grad=False)
    for _ in range(3):
        torch.testing.assert_close(replay(x), layer(x))
