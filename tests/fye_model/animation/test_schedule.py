"""The plan covers every length from 1 to 500 without leaving out or doubling a frame, and finishes in playing order."""

import itertools

import pytest

from fye_model.animation.schedule import frames_computed, overlap_windows, progressive_windows


@pytest.mark.parametrize("window", [3, 4, 16, 32])
def test_every_frame_of_every_length_is_new_exactly_once(window: int) -> None:
    for length in range(1, 501):
        new = [frame for item in progressive_windows(length, window) for frame in item.new]
        assert sorted(new) == list(range(length)), f"length {length}"


@pytest.mark.parametrize("window", [3, 5, 16])
def test_windows_are_ordered_small_enough_and_never_ask_for_an_unfinished_frame(window: int) -> None:
    for length in range(1, 501):
        finished: set[int] = set()
        for item in progressive_windows(length, window):
            assert list(item.frames) == sorted(set(item.frames))
            assert len(item.frames) <= window
            assert {f for f, given in zip(item.frames, item.given, strict=True) if given} == finished & set(item.frames)
            finished.update(item.frames)
            assert set(range(item.ready)) <= finished
            assert item.ready == length or item.ready not in finished


@pytest.mark.parametrize("window", [3, 5, 16])
def test_infill_windows_lie_between_a_finished_first_and_last_frame(window: int) -> None:
    for length in range(1, 501):
        _, *infill = progressive_windows(length, window)
        assert all(item.given[0] and item.given[-1] and not all(item.given) for item in infill), f"length {length}"


def test_the_keyframe_window_holds_the_first_and_last_frame_and_spreads_evenly() -> None:
    for length in range(17, 501):
        keys = progressive_windows(length)[0].frames
        gaps = {b - a for a, b in itertools.pairwise(keys)}
        assert keys[0] == 0 and keys[-1] == length - 1
        assert max(gaps) - min(gaps) <= 1


def test_dense_windows_of_a_video_share_one_size() -> None:
    for length in range(17, 501):
        sizes = {
            len(item.frames)
            for item in progressive_windows(length)[1:]
            if item.frames[-1] - item.frames[0] == len(item.frames) - 1
        }
        assert len(sizes) == 1, f"length {length}: {sizes}"


def test_a_short_video_is_one_window_with_nothing_given() -> None:
    for length in range(1, 17):
        (only,) = progressive_windows(length)
        assert only.frames == tuple(range(length)) and not any(only.given) and only.ready == length


def test_frames_wait_for_their_turn_in_a_number_that_does_not_grow_with_the_length() -> None:
    # What a streaming writer must remember: finished frames that are not yet ready, and the kept keyframes.
    for length in (150, 500, 3000):
        finished: set[int] = set()
        held = 0
        for item in progressive_windows(length):
            finished.update(item.frames)
            held = max(held, sum(frame >= item.ready for frame in finished))
        assert held <= 3 * 16, f"length {length}: {held} frames held"


def test_the_extra_work_of_keeping_ends_stays_below_a_quarter() -> None:
    assert frames_computed(16) == 16
    assert frames_computed(150) == 11 + 10 * 16
    assert all(frames_computed(length) <= 1.25 * length + 3 for length in range(100, 501))


def test_overlapping_windows_cover_every_length_and_overlap_enough() -> None:
    for length in range(1, 501):
        windows = overlap_windows(length, 16, 4)
        assert {frame for item in windows for frame in item} == set(range(length))
        assert all(len(item) == min(16, length) for item in windows)
        assert all(len(set(a) & set(b)) >= 4 for a, b in itertools.pairwise(windows))
        assert len({item.start for item in windows}) == len(windows)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: progressive_windows(0), "driver has 0 frames"),
        (lambda: progressive_windows(9, 2), "at least 3"),
        (lambda: overlap_windows(0), "driver has 0 frames"),
        (lambda: overlap_windows(9, 4, 4), "below the window"),
    ],
)
def test_impossible_plans_say_what_was_expected(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
