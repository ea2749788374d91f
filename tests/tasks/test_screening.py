"""Screening says why, counts what it loses, and splits the same way every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fye_model.config import ScreeningConfig, SplitConfig
from tasks.engine.items import Item, Outcome, StageResult
from tasks.footage.splits import MIN_TRAIN_FRAMES
from tasks.landmarks import LandmarkRow
from tasks.screening import (
    BY_HAND,
    RULES,
    SCREENING,
    KeptClip,
    RejectedClip,
    ScoredClip,
    ScreeningFacts,
    ScreeningRow,
    ScreeningSettings,
    funnel,
    kept_clips,
    screen,
    screening_item,
    split,
)
from tasks.workspace.dataset import Clip, ClipRecord
from tasks.workspace.decisions import Decision
from tasks.workspace.recipes import load_recipe
from tasks.workspace.summary import FunnelStep
from tests.tasks.support import work_on

GOOD = {
    "model": "face_landmarker_v2:64184e22",
    "frames": 100,
    "fps": 25.0,
    "valid_frames": 100,
    "interpolated": 0,
    "completeness": 1.0,
    "longest_gap": 0,
    "pitch": [-3.0, 4.0],
    "detection_rate": 1.0,
    "face_fraction": 0.5,
    "sharpness": 50.0,
    "brightness": 120.0,
    "yaw": [-5.0, 12.0],
    "motion": 0.4,
    "expression_range_mm": 1.5,
    "shape_error": 0.05,
    "shape_jump": 0.01,
    "looks_apart": None,
    "covered": 0.02,
    "lettering": 0.06,
}
HEAD = {
    "seconds": 4,
    "not_alone": 0,
    "movement_mean": 0.01,
    "movement_max": 0.02,
    "turn_mean_deg": 3.0,
    "turn_max_deg": 8.0,
    "off_axis_mean_deg": 10.0,
    "off_axis_max_deg": 20.0,
    "inside_mean": 1.0,
    "inside_min": 1.0,
    "face_area_mean": 0.2,
    "face_area_min": 0.18,
}
GOOD["head"] = HEAD


def head(**changes: float) -> dict[str, Any]:
    return {"head": {**HEAD, **changes}}


BAD = {
    "min_detection_rate": ({"detection_rate": 0.62}, "detection rate 0.62 is below 0.9"),
    "max_looks_apart": (
        {"shape_error": 0.131, "looks_apart": 0.0223},
        "hardly a face: its shape is off by 0.131 of the distance between the eyes, and more looks at it see it 0.0223",
    ),
    "min_valid_frames": ({"valid_frames": 20}, "number of valid frames 20 is below 24"),
    "min_face_fraction": ({"face_fraction": 0.08}, "face height as a fraction of the frame 0.08 is below 0.15"),
    "min_sharpness": ({"sharpness": 3.21}, "sharpness 3.21 is below 5"),
    "brightness": ({"brightness": 250.0}, "too bright: mean grey level 250 is outside 20-240"),
    "max_yaw_deg": ({"yaw": [-80.0, 1.0]}, "the head turns 80 degrees, more than 75"),
    "min_motion": ({"motion": 0.01}, "motion in interocular distances per second 0.01 is below 0.1"),
    "min_expression_range_mm": ({"expression_range_mm": 0.1}, "expression range in mm 0.1 is below 0.5"),
    "min_completeness": ({"completeness": 0.5}, "completeness 0.5 is below 0.95"),
    "max_not_alone": (head(not_alone=2), "number of seconds without exactly one face 2 is above 1"),
    "min_inside": (head(inside_min=0.6), "share of eyes, nose and mouth within the picture 0.6 is below 1"),
    "min_mean_face_area": (head(face_area_mean=0.016), "face's box in the picture 0.016 is below 0.01667"),
    "min_face_area": (head(face_area_min=0.013), "face's box in the picture 0.013 is below 0.01333"),
    "max_mean_movement": (
        head(movement_mean=0.21),
        "mean movement of the head from second to second 0.21 is above 0.2",
    ),
    "max_movement": (head(movement_max=0.41), "movement of the head within a second 0.41 is above 0.4"),
    "max_mean_turn_deg": (head(turn_mean_deg=31), "mean turn of the head in degrees a second 31 is above 30"),
    "max_turn_deg": (head(turn_max_deg=41), "turn of the head in degrees within a second 41 is above 40"),
    "max_mean_off_axis_deg": (head(off_axis_mean_deg=55), "mean angle in degrees away from the camera 55 is above 54"),
    "max_off_axis_deg": (head(off_axis_max_deg=127), "angle in degrees away from the camera 127 is above 126"),
    "max_covered": ({"covered": 0.31}, "share of the face that something covers 0.31 is above 0.15"),
    "max_lettering": ({"lettering": 0.5}, "a line of lettering as a share of the picture's width, 0.5 is above 0.3"),
    "max_sync_offset_s": (
        {"sync_offset_s": -0.24},
        "distance in seconds of the sound from the lips 0.24 is above 0.08",
    ),
    "min_sync_confidence": ({"sync_confidence": 1.12}, "confidence that sound and lips fit 1.12 is below 3"),
}
OVERLAYS = {"max_covered": 0.15, "max_lettering": 0.3, "max_sync_offset_s": 0.08, "min_sync_confidence": 3}
STRICT = ScreeningConfig(
    preset="talkvid", min_motion=0.1, min_expression_range_mm=0.5, min_completeness=0.95, **OVERLAYS
)


def row(clip: str, **changes: Any) -> ScoredClip:
    return ScoredClip(**{**GOOD, "clip": clip, "name": f"name-{clip}", "subject": clip[0], **changes})


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_every_rule_rejects_in_words_and_names_its_setting(rule: str) -> None:
    changes, words = BAD[rule]
    good, bad = screen([row("a"), row("b", **changes)], STRICT)
    assert good.kept and good.reasons == ()
    assert not bad.kept and len(bad.reasons) == 1
    assert words in bad.reasons[0] and f"screening.{rule}" in bad.reasons[0]


def test_all_broken_rules_are_told() -> None:
    changes = {key: value for change, _ in BAD.values() for key, value in change.items()}
    worst = {
        key: value for change, _ in BAD.values() for key, value in change.get("head", {}).items() if value != HEAD[key]
    }
    changes |= head(**worst)
    (verdict,) = screen([row("a", **changes)], STRICT)
    assert len(verdict.reasons) == len(RULES)


def test_the_funnel_loses_a_clip_once_and_adds_up() -> None:
    rows = [row("a"), row("b", detection_rate=0.5, sharpness=0.0), row("c", sharpness=1.0, frames=40)]
    steps = {step.rule: step for step in funnel(rows, ScreeningConfig())}
    assert steps["all clips"] == FunnelStep(rule="all clips", lost=0, clips=3, frames=240)
    assert steps["min_detection_rate"] == FunnelStep(rule="min_detection_rate", lost=1, clips=2, frames=140)
    assert steps["min_sharpness"] == FunnelStep(rule="min_sharpness", lost=1, clips=1, frames=100)
    assert sum(step.lost for step in steps.values()) == 2


def test_two_landmark_models_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"attention_mesh:e06a804e, face_landmarker_v2:64184e22"):
        screen([row("a"), row("b", model="attention_mesh:e06a804e")], ScreeningConfig())


def rows_of(subjects: int, clips: int) -> list[ScoredClip]:
    return [row(f"{s}-{c}", subject=f"subject {s}") for s in range(subjects) for c in range(clips)]


@pytest.mark.parametrize("by", ["subject", "clip"])
def test_whole_subjects_or_clips_are_held_out_and_stay_where_they_are(by: str) -> None:
    rows = rows_of(60, 2)
    config = SplitConfig(by=by, holdout=0.2, seed=1)
    spans = split(rows, config)
    assert spans == split(list(reversed(rows)), config)
    assert all({span.train, span.val} == {(0, 100), (0, 0)} for span in spans.values())
    held = [row for row in rows if spans[row.clip].val == (0, 100)]
    assert 0.1 < len(held) / len(rows) < 0.3
    if by == "subject":
        assert not {r.subject for r in held} & {r.subject for r in rows if r not in held}
    fewer = split(rows[20:], config)
    assert all(spans[clip] == fewer[clip] for clip in fewer)
    assert spans != split(rows, SplitConfig(by=by, holdout=0.2, seed=2))


def test_few_subjects_train_are_among_more_and_the_held_out_stay_the_same() -> None:
    rows = [entry.model_copy(update={"side": _side(entry)}) for entry in rows_of(15, 2)]
    spans = {count: split(rows, SplitConfig(subjects=count)) for count in (1, 4, 12, None)}
    trained = {count: {r.subject for r in rows if of[r.clip].train[1]} for count, of in spans.items()}
    assert [len(trained[count]) for count in (1, 4, 12, None)] == [1, 4, 12, 12]
    assert trained[1] < trained[4] < trained[12]
    for of in spans.values():
        assert {r.subject for r in rows if of[r.clip].val[1]} == {"subject 0", "subject 7", "subject 9"}


def _side(entry: ScoredClip) -> str:
    return "val" if entry.subject in ("subject 0", "subject 7", "subject 9") else "train"


def test_clips_of_subjects_that_do_not_train_are_rejected_for_that(tmp_path: Path) -> None:
    settings = ScreeningSettings(screening=ScreeningConfig(), split=SplitConfig(subjects=1))
    rows = tuple(rows_of(3, 2))
    result = work_on(SCREENING, settings, {}, ScreeningFacts(rows=rows), tmp_path)
    assert len({entry.subject for entry in result.kept}) == 2  # one trains, one is held out
    assert all("split.subjects" in entry.reasons[0] for entry in result.rejected) and len(result.rejected) == 2
    assert result.funnel[-1] == FunnelStep(rule="split.subjects", lost=2, clips=4, frames=400)


def test_a_number_of_subjects_needs_a_split_by_subject() -> None:
    with pytest.raises(ValueError, match=r"split\.subjects needs split\.by subject, which is tail"):
        SplitConfig(by="tail", subjects=4)
    assert SplitConfig(by="all", subjects=4).by == "all"  # what `fye evaluate` makes of a recipe


@pytest.mark.parametrize("holdout", [1e-6, 1 - 1e-6])
def test_both_sides_have_someone(holdout: float) -> None:
    spans = split(rows_of(3, 1), SplitConfig(by="subject", holdout=holdout))
    assert 1 <= sum(span.val[1] > 0 for span in spans.values()) <= 2


def test_one_subject_alone_is_not_held_out() -> None:
    spans = split(rows_of(1, 4), SplitConfig(by="subject"))
    assert all(span.val == (0, 0) and span.train[1] > 0 for span in spans.values())


@pytest.mark.parametrize(("frames", "holdout", "val"), [(100, 0.2, 20), (100, 0.05, 8), (24, 0.05, 8), (23, 0.2, 0)])
def test_tails_are_the_end_of_every_clip_and_never_too_short(frames: int, holdout: float, val: int) -> None:
    span = split([row("a", frames=frames)], SplitConfig(by="tail", holdout=holdout))["a"]
    assert span.train == (0, frames - val)
    assert span.val == ((frames - val, frames) if val else (0, 0))
    assert span.train[1] >= MIN_TRAIN_FRAMES


def test_the_stage_row_names_kept_and_rejected_clips(tmp_path: Path) -> None:
    settings = ScreeningSettings(screening=ScreeningConfig(), split=SplitConfig(by="tail", holdout=0.2))
    facts = ScreeningFacts(rows=(row("a"), row("b", brightness=5.0)))
    result = work_on(SCREENING, settings, {}, facts, tmp_path)
    assert result.kept == (KeptClip(clip="a", name="name-a", subject="a", train=(0, 80), val=(80, 100)),)
    assert [(entry.clip, len(entry.reasons)) for entry in result.rejected] == [("b", 1)]
    assert result.funnel[-1].clips == 1


def clip(name: str) -> Clip:
    return Clip(ClipRecord(clip=name, name=f"video-{name}", subject="anna", frames=50), {})


def verdicts(**kept: tuple[tuple[int, int], tuple[int, int]]) -> ScreeningRow:
    rejected = RejectedClip(clip="dark", name="video-dark", subject="dark", reasons=("brightness 3 is below 20",))
    entries = (
        KeptClip(clip=name, name=name, subject=name, train=train, val=val) for name, (train, val) in kept.items()
    )
    return ScreeningRow(kept=tuple(entries), rejected=(rejected,), funnel=())


CLIPS = [clip("a"), clip("b"), clip("dark")]


def test_kept_clips_carry_their_spans_in_order() -> None:
    kept = kept_clips(CLIPS, verdicts(b=((0, 50), (0, 0)), a=((0, 0), (0, 50))))
    assert [(entry.id, entry.record.train, entry.record.val) for entry in kept] == [
        ("a", (0, 0), (0, 50)),
        ("b", (0, 50), (0, 0)),
    ]


def test_nothing_left_names_the_reasons() -> None:
    with pytest.raises(ValueError, match=r"no clip is left to train on.*video-dark: brightness 3"):
        kept_clips(CLIPS, verdicts())
    with pytest.raises(ValueError, match="no clip is left to evaluate"):
        kept_clips(CLIPS, verdicts(a=((0, 50), (0, 0))), "val")


def test_training_without_anything_held_out_is_refused_before_it_starts() -> None:
    with pytest.raises(ValueError, match=r"nothing is held out of the 1 clips of 1 subjects.*split\.by=tail"):
        kept_clips(CLIPS, verdicts(a=((0, 50), (0, 0))))


def test_what_people_decided_overrules_the_rules_and_is_part_of_the_key(tmp_path: Path) -> None:
    rows = (row("a"), row("b", sharpness=0.1), row("c", sharpness=0.2))
    facts = ScreeningFacts(rows=rows, decisions={"a": False, "b": True})
    settings = ScreeningSettings(screening=ScreeningConfig(), split=SplitConfig(by="tail"))
    found = work_on(SCREENING, settings, {}, facts, tmp_path)
    (kept,) = found.kept
    assert (kept.clip, kept.by_hand, len(kept.overruled)) == ("b", True, 1)
    rejected = {entry.clip: entry for entry in found.rejected}
    assert rejected["a"].by_hand and rejected["a"].reasons == (BY_HAND,)
    assert not rejected["c"].by_hand and "sharpness" in rejected["c"].reasons[0]
    assert found.funnel[-1] == FunnelStep(rule="by hand", lost=0, clips=1, frames=100)
    keys = {
        SCREENING.key(settings.model_dump(mode="json"), None, Item("screening", "screening", {}, some))
        for some in (facts, ScreeningFacts(rows=rows), ScreeningFacts(rows=rows, decisions={"a": True, "b": True}))
    }
    assert len(keys) == 3


def test_only_decisions_on_clips_that_are_there_are_given() -> None:
    clips = [Clip(ClipRecord(clip="a", name="name-a", subject="a", frames=100), {})]
    marked = LandmarkRow(**{name: value for name, value in GOOD.items() if name in LandmarkRow.model_fields})
    outcome = Outcome("a", "name-a", "key", "folder", {}, marked)
    result = StageResult("landmarks", [outcome], "digest", 0.0, 0.0, 0, "Completed")
    decisions = {"a": Decision(keep=False, note="hand before the face"), "elsewhere": Decision(keep=True)}
    assert screening_item(clips, result, decisions).facts.decisions == {"a": False}


def test_a_preset_fills_in_what_is_not_set_and_says_every_number() -> None:
    assert ScreeningConfig(preset="talkvid").max_turn_deg == 40.0
    looser = ScreeningConfig(preset="talkvid", max_turn_deg=60.0)
    assert looser.max_turn_deg == 60.0 and looser.max_mean_turn_deg == 30.0
    assert ScreeningConfig.model_validate(looser.model_dump()) == looser, "read back as it was written"
    assert load_recipe("paper", ["screening.preset=talkvid"]).screening.max_not_alone == 1
    with pytest.raises(ValueError, match="talkvid"):
        load_recipe("paper", ["screening.preset=talkvids"])


def test_the_published_scores_and_thresholds_are_the_same_as_ours() -> None:
    """TalkVid's own formulas of its scores, at our limits: its thresholds."""
    ours = ScreeningConfig(preset="talkvid")
    scores = {
        "avg_movement": 100 - 100 * ours.max_mean_movement,
        "min_movement": 100 - 100 * ours.max_movement,
        "avg_rotation": 100 - ours.max_mean_turn_deg,
        "min_rotation": 100 - ours.max_turn_deg,
        "avg_orientation": 100 - ours.max_mean_off_axis_deg / 180 * 100,
        "min_orientation": 100 - ours.max_off_axis_deg / 180 * 100,
        "min_completeness": 100 * ours.min_inside,
        "avg_resolution": 30 * ours.min_mean_face_area * 100,
        "min_resolution": 30 * ours.min_face_area * 100,
        "face_consistency": 100 - 20 * ours.max_not_alone,
    }
    published = (80, 60, 70, 60, 70, 30, 100, 50, 40, 80)
    assert scores == pytest.approx(dict(zip(scores, published, strict=True)))
