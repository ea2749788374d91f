"""The declared rule: better by paired intervals, worse in nothing, on enough clips; else the old model stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from fye_model.config import PromotionConfig
from tasks.results.promotion import Decision, judged
from tasks.results.records import ClipRecord
from tests.tasks.finished import CLIPS, make_record, write_evaluation

RULE = PromotionConfig(clips=CLIPS)


def decided(tmp_path: Path, ours: list[ClipRecord], theirs: list[ClipRecord], rule: PromotionConfig) -> Decision:
    a, b = write_evaluation(tmp_path / "a", ours), write_evaluation(tmp_path / "b", theirs)
    return judged(a, ("abc", b), rule)


def records(amplitude: float, noise: float) -> list[ClipRecord]:
    return [make_record(number, amplitude=amplitude, noise=noise) for number in range(CLIPS)]


@pytest.fixture(scope="module")
def good() -> list[ClipRecord]:
    return records(0.95, 2)


def test_a_better_model_is_promoted_a_worse_and_an_equal_one_are_not(good: list[ClipRecord], tmp_path: Path) -> None:
    poor = records(0.1, 9)
    found = decided(tmp_path / "better", good, poor, RULE)
    assert found.promote and found.why == f"it is better than the model in use (abc) in expression, on {CLIPS} clips"
    found = decided(tmp_path / "worse", poor, good, RULE)
    assert not found.promote and "it is worse than the model in use (abc) in L1 of self reenactment" in found.why
    found = decided(tmp_path / "equal", good, good, RULE)
    assert not found.promote and "it cannot be told to be better" in found.why


def test_a_better_expression_with_a_worse_picture_is_not_promoted_unless_the_rule_says_so(
    good: list[ClipRecord], tmp_path: Path
) -> None:
    blurred, stiff = records(0.95, 9), records(0.1, 2)
    found = decided(tmp_path / "guarded", blurred, stiff, RULE)
    assert not found.promote and "worse" in found.why and "SSIM" in found.why
    assert decided(tmp_path / "free", blurred, stiff, RULE.model_copy(update={"not_worse": ()})).promote


def test_few_clips_promote_nothing(good: list[ClipRecord], tmp_path: Path) -> None:
    found = decided(tmp_path, good, records(0.1, 9), PromotionConfig())
    assert not found.promote and found.why == f"both were measured on {CLIPS} clips, the rule wants 5"


def test_the_first_model_is_held_against_the_repeated_reference(good: list[ClipRecord], tmp_path: Path) -> None:
    moving, still = (write_evaluation(tmp_path / str(amplitude), records(amplitude, 2)) for amplitude in (0.95, 0.0))
    rule = RULE.model_copy(update={"not_worse": ()})
    found = judged(moving, None, rule)
    assert found.promote and "better than repeating the reference (no model is in use) in expression" in found.why
    assert not judged(still, None, rule).promote
