"""Covering strategies: what each covers, how often, and what the denoiser is given for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fye_model.config import CoveringConfig
from fye_model.training.covering import draw_covered, given_latents


def draws(config: CoveringConfig, count: int = 4000, frames: int = 16) -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.stack([draw_covered(frames, config, generator) for _ in range(count)])


def test_the_papers_two_strategies_come_up_equally_often() -> None:
    covered = draws(CoveringConfig())
    ends_only = (~covered[:, [0, -1]]).all(1) & covered[:, 1:-1].all(1)
    # sixteen independent frames hit that pattern with probability 2^-16: what matches was the first strategy
    assert ends_only.mean() == pytest.approx(0.5, abs=0.03)
    assert covered[~ends_only].mean() == pytest.approx(0.5, abs=0.02)
    assert not covered[~ends_only].all(1).any(), "the paper has no strategy of its own for covering everything"


def test_everything_is_covered_as_often_as_asked() -> None:
    covered = draws(CoveringConfig(all_but_ends=0.25, everything=0.5))
    assert covered.all(1).mean() == pytest.approx(0.5, abs=0.03)


def test_each_strategy_alone() -> None:
    assert draws(CoveringConfig(all_but_ends=1.0), 5)[:, 1:-1].all()
    assert not draws(CoveringConfig(all_but_ends=1.0), 5)[:, [0, -1]].any()
    assert draws(CoveringConfig(all_but_ends=0.0, per_frame=1.0), 5).all()
    assert not draws(CoveringConfig(all_but_ends=0.0, per_frame=0.0), 5).any()


def test_every_strategy_takes_the_same_amount_of_randomness() -> None:
    after = []
    for config in (CoveringConfig(all_but_ends=1.0), CoveringConfig(all_but_ends=0.0)):
        generator = np.random.default_rng(3)
        draw_covered(8, config, generator)
        after.append(generator.random())
    assert after[0] == after[1]


def test_probabilities_above_one_are_refused() -> None:
    with pytest.raises(ValueError, match="exceed 1"):
        CoveringConfig(all_but_ends=0.7, everything=0.4)


def test_given_is_the_latents_where_uncovered_zero_elsewhere_and_a_flag() -> None:
    latents = torch.randn(2, 4, 3, 2, 2)
    covered = torch.tensor([[False, True, True], [True, True, True]])
    given = given_latents(latents, covered)
    assert given.shape == (2, 5, 3, 2, 2)
    assert torch.equal(given[0, :4, 0], latents[0, :, 0])
    assert (given[0, 4, 0] == 1).all()
    assert not given[0, :, 1:].any() and not given[1].any()
