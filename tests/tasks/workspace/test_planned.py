"""What a plan says to people."""

from __future__ import annotations

from tasks.clips import CLIPS
from tasks.encoders import ENCODERS
from tasks.engine.stage import AnyStage
from tasks.workspace.planned import StagePlan


def test_what_is_to_do_is_named_by_stage_and_clip_and_a_whole_data_sets_stage_once() -> None:
    def to_do(stage: AnyStage, *names: str) -> tuple[str, ...]:
        return StagePlan(stage, len(names), 0, 0, names, 0, None).missing

    assert to_do(CLIPS, "talk", "turn") == ("clips of talk", "clips of turn")
    assert to_do(ENCODERS, "encoders") == ("encoders",)
