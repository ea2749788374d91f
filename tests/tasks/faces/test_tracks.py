"""Boxes become tracks that end where the face does, clips keep one face at a time, crops are square and inside."""

from __future__ import annotations

import pytest

from tasks.faces.detector import Box
from tasks.faces.tracks import Look, Track, link, matched, pieces, select, square_around, steady

A: Box = (10.0, 10.0, 50.0, 60.0)
B: Box = (100.0, 10.0, 130.0, 50.0)


def moved(box: Box, x: float) -> Box:
    return box[0] + x, box[1], box[2] + x, box[3]


def looks(frames: range, *boxes: Box) -> list[Look]:
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


def test_the_square_has_the_margin_around_the_middle_of_the_face() -> None:
    left, top, side = square_around((300, 300, 380, 400), 1000, 800, 0.5)
    assert side == 200
    assert (left, top) == (240, 250)


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((0, 0, 100, 100), (1000, 800)),
        ((940, 700, 1000, 800), (1000, 800)),
        ((200, 300, 520, 700), (720, 1280)),
        ((100, 100, 400, 450), (480, 480)),
    ],
)
def test_the_square_is_even_holds_the_face_and_stays_inside_where_it_can(box: Box, size: tuple[int, int]) -> None:
    left, top, side = square_around(box, *size, 0.5)
    assert not (left % 2 or top % 2 or side % 2)
    assert left <= box[0] and top <= box[1] and left + side >= box[2] and top + side >= box[3]
    assert left >= 0 and top >= 0 and left + side <= size[0] and top + side <= size[1]


def test_only_a_face_larger_than_the_shorter_side_reaches_outside() -> None:
    left, top, side = square_around((100, 0, 900, 400), 1000, 400, 0.5)
    assert side == 880
    assert top <= 400 - side or top <= 0 <= top + side - 400
    assert left <= 100 and left + side >= 900
