"""A part of a run is asked for in words of its flow, and known for a part ever after."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from flows.options import Part
from tasks.footage.pieces import Source
from tasks.workspace.steps import Steps


def sources(*problems: bool) -> list[Source]:
    """Sources of which some cannot be taken."""
    return [
        Source(f"/{place}.mp4", f"name{place}", "anna", f"{place}", 1, ("bad", "why") if bad else None)
        for place, bad in enumerate(problems)
    ]


def test_the_first_videos_that_can_be_taken_count() -> None:
    there = sources(True, False, True, False, False)
    assert Steps(limit=2).limited(there) == there[:4]
    assert Steps(limit=9).limited(there) == there
    assert Steps().limited(there) == there


def test_a_part_has_a_name_of_its_own() -> None:
    """So that a cleaning never takes it for the last whole run."""
    assert Steps().label == "" and Steps(force=("clips",)).label == ""
    assert Steps(until="clips").label == ", until clips"
    assert Steps(only="clips", limit=3).label == ", only clips, 3 videos"


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ValidationError, match="give one of them"):
        Steps(only="clips", until="landmarks")
    for part, flow, says in (
        (Part(until="clip"), "refresh", "refresh has no stage 'clip'; its stages are clips, landmarks"),
        (Part(force=["train_stage1"]), "refresh", "no stage 'train_stage1'"),
        (Part(limit=0), "retrain", "limit: .*greater than 0"),
    ):
        with pytest.raises(ValueError, match=says):
            part.steps(flow)
    assert Part(force=["train_stage1"]).steps("retrain").force == ("train_stage1",)
