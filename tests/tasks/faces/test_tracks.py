"""Boxes become tracks that end where the face does, clips keep one face at a time, crops are square and inside."""

from __future__ import annotations

import pytest

from fye_model.landmarks.boxes import PixelBox
from tasks.faces.tracks import Look, Track, link, matched, pieces, select, steady

A = PixelBox(10.0, 10.0, 50.0, 60.0)
B = PixelBox(100.0, 10.0, 130.0, 50.0)


def moved(box: PixelBox, x: float) -> PixelBox:
    return PixelBox(box.left + x, box.top, box.right + x, box.bottom)


def looks(frames: range, *boxes: PixelBox) -> list[Look]:
    return [Look(frame, boxes) for frame in frames]


def spans(tracks: list[Track]) -> list[tuple[int, int]]:
    return [(track.start, track.stop) for track in tracks]


def test_two_faces_crossing_in_the_list_stay_two_tracks() -> None:
    seen = [Look(5 * i, (moved(A, i), B) if i % 2 else (B, moved(A, i))) for i in range(8)]
    tracks = link(seen, [], 5)
    assert spans(tracks) == [(0, 36), (0, 36)]
    assert [track.boxes[-1] for track in tracks] == [moved(A, 7), B]


def test_a_gap_as_long_as_allowed_is_bridged_and_a_longer_one_splits() -> None:
    for missing, expected in ((5, [(0, 25)]), (6, [(0, 10), (16, 25)])):
        seen = looks(range(0, 10), A) + looks(range(10, 10 + missing)) + looks(range(10 + missing, 25), A)
        assert spans(link(seen, [], 5)) == expected


def test_frames_that_nobody_looked_at_are_no_gap() -> None:
    assert spans(link(looks(range(0, 100, 10), A), [], 0)) == [(0, 91)]


def test_a_long_unwatched_stretch_after_a_missed_look_counts_in_frames() -> None:
    seen = [*looks(range(0, 10), A), Look(10, ()), Look(20, ()), Look(30, (A,))]
    assert spans(link(seen, [], 5)) == [(0, 10), (30, 31)]


def test_a_face_that_jumps_is_another_track() -> None:
    seen = looks(range(0, 10), A) + looks(range(10, 20), B)
    assert spans(link(seen, [], 5)) == [(0, 10), (10, 20)]


def test_no_track_crosses_a_cut() -> None:
    assert spans(link(looks(range(30), A), [12, 20], 5)) == [(0, 12), (12, 20), (20, 30)]


def test_best_overlaps_are_matched_first() -> None:
    assert matched([A, moved(A, 20)], [moved(A, 18)]) == [(1, 0)]
    assert steady([A, B], [B, moved(A, 3)])
    assert not steady([A], [A, B])
    assert not steady([A], [B])
    assert steady([], [])


def test_the_union_follows_the_face_between_looks() -> None:
    track = Track([0, 10], [A, moved(A, 100)])
    assert track.union(0, 11) == (10.0, 10.0, 150.0, 60.0)
    assert track.union(0, 6) == (10.0, 10.0, 100.0, 60.0)
    assert track.union(8, 10) == (90.0, 10.0, 140.0, 60.0)


def test_selection_keeps_one_face_at_a_time_and_says_why_others_go() -> None:
    big_short = Track([0, 29], [A, A])
    small_long = Track([0, 99], [B, B])
    big_later = Track([60, 99], [A, A])
    blink = Track([40, 45], [A, A])
    tracks = [big_short, small_long, blink, big_later]
    assert select(tracks, "largest", 24) == (
        [big_short, big_later],
        [(small_long, "other_face"), (blink, "too_short")],
    )
    kept, rejected = select(tracks, "longest", 24)
    assert kept == [small_long]
    assert [reason for _, reason in rejected] == ["other_face", "too_short", "other_face"]
    assert select(tracks, "all", 24) == ([big_short, small_long, big_later], [(blink, "too_short")])


@pytest.mark.parametrize(
    ("length", "expected", "left"),
    [
        (100, [(7, 107)], 0),
        (101, [(7, 57), (57, 108)], 0),
        (250, [(7, 90), (90, 173), (173, 257)], 0),
    ],
)
def test_long_tracks_are_split_evenly(length: int, expected: list[tuple[int, int]], left: int) -> None:
    spans, rest = pieces(7, 7 + length, 24, 100)
    assert spans == expected
    assert rest[1] - rest[0] == left


def test_what_is_too_short_for_a_clip_is_left_over() -> None:
    assert pieces(0, 130, 80, 100) == ([(0, 100)], (100, 130))
    assert pieces(0, 160, 80, 100) == ([(0, 80), (80, 160)], (160, 160))
