"""Which clips go on from screening to training or evaluation, and what is said when that cannot be."""

import pytest

from tasks.engine.items import Outcome, StageResult
from tasks.workspace.dataset import Clip, kept_clips


def _clip(name: str) -> Clip:
    return Clip(clip=name, name=f"video-{name}", subject="anna", frames=50, fps=25.0, files={})


def _screened(kept: dict[str, tuple[list[int], list[int]]]) -> StageResult:
    row = {
        "kept": [{"clip": name, "train": train, "val": val} for name, (train, val) in kept.items()],
        "rejected": [{"clip": "dark", "name": "video-dark", "reasons": ["brightness 3 is below 20"]}],
    }
    outcome = Outcome(id="all", name="data set", key="k", folder="items/k", files={}, row=row)
    return StageResult("screening", [outcome], "digest", 0.0, 0.0, 1, "Completed")


CLIPS = [_clip("a"), _clip("b"), _clip("dark")]


def test_kept_clips_carry_their_spans_in_order() -> None:
    kept = kept_clips(CLIPS, _screened({"b": ([0, 50], [0, 0]), "a": ([0, 0], [0, 50])}))
    assert [(clip.clip, clip.train, clip.val) for clip in kept] == [("a", (0, 0), (0, 50)), ("b", (0, 50), (0, 0))]


def test_nothing_left_names_the_reasons() -> None:
    with pytest.raises(ValueError, match=r"no clip is left to train on.*video-dark: brightness 3"):
        kept_clips(CLIPS, _screened({}))
    with pytest.raises(ValueError, match="no clip is left to evaluate"):
        kept_clips(CLIPS, _screened({"a": ([0, 50], [0, 0])}), "val")


def test_training_without_anything_held_out_is_refused_before_it_starts() -> None:
    with pytest.raises(ValueError, match=r"nothing is held out of the 1 clips of 1 subjects.*split\.by=tail"):
        kept_clips(CLIPS, _screened({"a": ([0, 50], [0, 0])}))
