"""Copies of a clip are found whatever was done to them, and two takes of one person are not taken for copies."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fye_model.config import ScreeningConfig, SplitConfig
from tasks.footage.duplicates import (
    ALIKE,
    Pair,
    Seen,
    find_copies,
    find_pairs,
    read_thumbnails,
    thumbnail,
    write_thumbnails,
)
from tasks.footage.splits import grouped
from tasks.media.read import iter_frames
from tasks.screening import SCREENING, ScreeningFacts, ScreeningRow, ScreeningSettings
from tests.tasks.support import work_on
from tests.tasks.test_screening import row
from tests.tasks.videos import encode

THRESHOLD = ScreeningConfig().copy_correlation


def take(seed: int, frames: int = 150, size: int = 128) -> list[np.ndarray]:
    """A head of always the same features before always the same wall, whose features move as the seed says."""
    wall = np.random.default_rng(0).uniform(60, 190, (size // 8, size // 8)).repeat(8, 0).repeat(8, 1)
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    shakes = np.cumsum(rng.normal(0, 0.006, (frames, 2)), axis=0)
    lids, jaws = (np.convolve(rng.random(frames + 8) < rate, np.ones(8) / 4)[8 : frames + 8] for rate in (0.04, 0.15))
    made = []
    for (dy, dx), lid, jaw in zip(shakes - shakes.mean(axis=0), lids, jaws, strict=True):
        face = ((y - 0.5 - dy) / 0.4) ** 2 + ((x - 0.5 - dx) / 0.3) ** 2 < 1
        grey = np.where(face, 200.0, wall)
        for side in (-0.12, 0.12):
            eye = ((y - 0.42 - dy) / 0.04) ** 2 + ((x - 0.5 - dx - side) / 0.06) ** 2 < 1
            grey = np.where(eye, 40 + 150 * min(lid, 1.0), grey)
        mouth = ((y - 0.66 - dy) / (0.02 + 0.08 * min(jaw, 1.0))) ** 2 + ((x - 0.5 - dx) / 0.12) ** 2 < 1
        made.append(np.repeat(np.where(mouth, 70.0, grey).astype(np.uint8)[..., None], 3, axis=2))
    return made


def stored(folder: Path, name: str, video: Path, size: int = 128) -> Seen:
    """Thumbnails of a video, as of a square clip of it."""
    found = []
    for rgb in iter_frames(video):
        side = min(rgb.shape[:2])
        top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
        square = Image.fromarray(rgb[top : top + side, left : left + side]).resize((size, size))
        found.append(thumbnail(np.asarray(square)))
    write_thumbnails(folder / f"{name}.npy", found)
    return Seen(name, name, folder / f"{name}.npy")


def copies_of(folder: Path, name: str, frames: list[np.ndarray], skip: int = 30) -> list[Seen]:
    """A clip, and what becomes of it: re-encoded small and badly, mirrored, trimmed at its start."""
    half = [
        np.asarray(Image.fromarray(frame).resize((frame.shape[1] // 4 * 2, frame.shape[0] // 4 * 2)))
        for frame in frames
    ]
    videos = {
        "": encode(folder / f"{name}.mp4", frames),
        "-small": encode(folder / f"{name}-small.mp4", half, options={"crf": "34"}),
        "-mirrored": encode(folder / f"{name}-mirrored.mp4", [np.ascontiguousarray(f[:, ::-1]) for f in frames]),
        "-trimmed": encode(folder / f"{name}-trimmed.mp4", frames[skip:], options={"crf": "30"}),
    }
    return [stored(folder, f"{name}{what}", video) for what, video in videos.items()]


def names(clips: list[Seen], pairs: list[Pair]) -> set[frozenset[str]]:
    return {frozenset({clips[pair.first].clip, clips[pair.second].clip}) for pair in pairs}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    """A take with its copies, and another take of the same head with its own."""
    folder = tmp_path_factory.mktemp("made")
    return [*copies_of(folder, "one", take(1)), *copies_of(folder, "two", take(2))]


def test_every_copy_is_found_and_another_take_of_the_same_head_is_none(made: list[Seen]) -> None:
    for group in (made[:4], made[4:]):
        means = [read_thumbnails(clip.thumbnails).mean(axis=0) for clip in (made[0], group[0])]
        assert np.corrcoef(*means)[0, 1] > ALIKE, "they look alike, so they are compared"
    pairs = find_pairs(made, THRESHOLD)
    groups = (made[:4], made[4:])
    assert names(made, pairs) == {
        frozenset({a.clip, b.clip}) for group in groups for a, b in itertools.combinations(group, 2)
    }
    assert all(pair.mirrored == ("mirrored" in made[pair.first].clip + made[pair.second].clip) for pair in pairs)
    trimmed = next(pair for pair in pairs if (pair.first, pair.second) == (0, 3))
    assert trimmed.frames == 120


@pytest.mark.parametrize("size", [64, 96, 256, 512])
def test_a_short_mirrored_copy_is_found_whatever_the_size_of_clips(tmp_path: Path, size: int) -> None:
    frames = take(1, 30, 256)
    videos = {"as_shot": frames, "mirrored": [np.ascontiguousarray(frame[:, ::-1]) for frame in frames]}
    clips = [stored(tmp_path, name, encode(tmp_path / f"{name}.mp4", shot), size) for name, shot in videos.items()]
    (pair,) = find_pairs(clips, THRESHOLD)
    assert pair.mirrored and pair.frames == 30 and pair.correlation > 0.95


def test_the_best_of_each_group_is_kept_and_the_others_name_it(made: list[Seen]) -> None:
    clips = [
        Seen(clip.clip, clip.source, clip.thumbnails, worth=(6.0 - place % 4, 1.0)) for place, clip in enumerate(made)
    ]
    _, copies = find_copies(clips, THRESHOLD)
    assert {copy.clip: copy.of for copy in copies} == {
        f"{name}-{what}": name for name in ("one", "two") for what in ("small", "mirrored", "trimmed")
    }
    (wanted,) = [clip for clip in clips if clip.clip == "one-small"]
    clips[clips.index(wanted)] = replace(wanted, wanted=True)
    _, copies = find_copies(clips, THRESHOLD)
    assert "one-small" not in {copy.clip for copy in copies}, "what somebody wants stays"
    assert {copy.of for copy in copies} == {"one-small", "two"}


def test_clips_of_one_source_never_repeat_each_other_and_a_still_picture_is_no_copy(tmp_path: Path) -> None:
    video = encode(tmp_path / "a.mp4", take(3, 60))
    first, second = stored(tmp_path, "a", video), stored(tmp_path, "b", video)
    assert len(find_pairs([first, second], THRESHOLD)) == 1
    assert find_pairs([first, Seen("b", "a", second.thumbnails)], THRESHOLD) == []
    assert find_pairs([first, second], 1.0) == [], "switched off"
    stills = [encode(tmp_path / f"s{crf}.mp4", take(3, 1) * 60, options={"crf": str(crf)}) for crf in (20, 36)]
    assert find_pairs([stored(tmp_path, still.stem, still) for still in stills], THRESHOLD) == []


def test_two_halves_of_a_real_take_are_not_copies_and_its_copies_are(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "driving" / "d18.mp4"
    frames = [np.asarray(Image.fromarray(frame).resize((256, 256))) for frame in iter_frames(source)][:150]
    whole = copies_of(tmp_path, "whole", frames, 28)
    assert len(find_pairs(whole, THRESHOLD)) == 6
    parts = {"first": frames[:72], "second": frames[78:]}
    halves = [stored(tmp_path, name, encode(tmp_path / f"{name}.mp4", part)) for name, part in parts.items()]
    assert find_pairs(halves, THRESHOLD) == []


def test_screening_names_the_kept_clip_and_keeps_copies_on_one_side_of_the_split(
    made: list[Seen], tmp_path: Path
) -> None:
    """The copy's subject has clips of its own: they stay on the side where the clip is that was copied."""
    subjects = {"one": "anna", "one-trimmed": "reupload", "two": "ben"}
    rows = [row(name, subject=subject, name=f"{name}!", source=name) for name, subject in subjects.items()]
    rows += [row(f"more-{i}", subject=f"s{i}") for i in range(30)] + [row("own", subject="reupload")]
    files = {f"clips/{clip.clip}/thumbnails": clip.thumbnails for clip in made if clip.clip in subjects}
    sides = set()
    for seed in range(40):
        split = SplitConfig(holdout=0.3, seed=seed)
        settings = ScreeningSettings(screening=ScreeningConfig(), split=split)
        (tmp_path / str(seed)).mkdir()
        found: ScreeningRow = work_on(
            SCREENING, settings, files, ScreeningFacts(rows=tuple(rows)), tmp_path / str(seed)
        )
        (rejected,) = found.rejected
        assert rejected.clip == "one-trimmed"
        assert rejected.reasons[0].startswith("shows the same moments as one!, which is kept (")
        assert found.funnel[-1].rule == "copy_correlation" and found.funnel[-1].lost == 1
        held = {entry.clip: entry.val != (0, 0) for entry in found.kept}
        assert held["one"] == held["own"], "one person under two names is on one side"
        sides.add((held["one"], held["two"]))
    assert len(sides) == 4, "the other take is drawn by itself"


def test_groups_are_of_all_that_some_chain_connects() -> None:
    assert grouped([("c", "b"), ("x", "y"), ("b", "a")]) == {"a": "a", "b": "a", "c": "a", "x": "x", "y": "x"}
