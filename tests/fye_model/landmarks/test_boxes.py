"""One rule for a face's square: with its margin, even, around the face, and inside the picture where it can be."""

from __future__ import annotations

import numpy as np
import pytest

from fye_model.landmarks.boxes import (
    FractionBox,
    PixelBox,
    Square,
    distinct,
    face_square,
    fraction_box,
    overlap,
    pixel_boxes,
    union,
)


def test_the_square_has_the_margin_around_the_middle_of_the_face() -> None:
    assert face_square(PixelBox(300, 300, 380, 400), 1000, 800, 0.5) == Square(240, 250, 200)


@pytest.mark.parametrize(
    ("box", "size"),
    [
        (PixelBox(0, 0, 100, 100), (1000, 800)),
        (PixelBox(940, 700, 1000, 800), (1000, 800)),
        (PixelBox(200, 300, 520, 700), (720, 1280)),
        (PixelBox(100, 100, 400, 450), (480, 480)),
    ],
)
def test_the_square_is_even_holds_the_face_and_stays_inside_where_it_can(box: PixelBox, size: tuple[int, int]) -> None:
    square = face_square(box, *size, 0.5)
    assert not (square.left % 2 or square.top % 2 or square.side % 2)
    assert square.left <= box.left and square.top <= box.top
    assert square.left + square.side >= box.right and square.top + square.side >= box.bottom
    assert square.left >= 0 and square.top >= 0
    assert square.left + square.side <= size[0] and square.top + square.side <= size[1]


def test_only_a_face_larger_than_the_shorter_side_reaches_outside() -> None:
    square = face_square(PixelBox(100, 0, 900, 400), 1000, 400, 0.5)
    assert square.side == 880
    assert square.top <= 0 and square.top + square.side >= 400
    assert square.left <= 100 and square.left + square.side >= 900


def test_squares_are_moved_inside_pictures_of_any_size_and_reach_beyond_only_when_they_must() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        width, height = (int(side) for side in rng.integers(8, 100, 2))
        x = np.sort(rng.uniform(0, width, 2)) + np.arange(2)
        y = np.sort(rng.uniform(0, height, 2)) + np.arange(2)
        box = PixelBox(x[0], y[0], x[1], y[1])
        square = face_square(box, width, height, float(rng.uniform(0, 2)))
        for start, length in ((square.left, width), (square.top, height)):
            if square.side <= length:
                assert start >= 0 and start + square.side <= length
            else:
                assert start <= 0 and start + square.side >= length
        assert square.side <= max(min(width, height), 1.1 * box.longer + 2)


def test_a_guessed_box_never_costs_part_of_the_face_that_was_seen() -> None:
    face, guessed = PixelBox(20, 0, 120, 100), PixelBox(45, 25, 95, 75)
    assert face_square(guessed, 300, 90, 0.7).side == 90
    assert face_square(guessed, 300, 90, 0.7, face).side == 110


def test_an_empty_face_box_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        face_square(PixelBox(5, 5, 5, 9), 60, 40, 0.5)


def test_boxes_are_found_joined_compared_and_brought_to_another_unit() -> None:
    points = np.array([[(10.0, 20.0), (30.0, 80.0)], [(0.0, 40.0), (20.0, 60.0)]])
    first, second = pixel_boxes(points)
    assert (first, second) == (PixelBox(10, 20, 30, 80), PixelBox(0, 40, 20, 60))
    assert union([first, second]) == PixelBox(0, 20, 30, 80)
    assert (first.longer, first.centre, first.area) == (60, (20, 50), 1200)
    assert overlap(first, second) == pytest.approx(200 / (1200 + 400 - 200))
    assert overlap(first, PixelBox(30, 20, 40, 80)) == 0
    box = fraction_box(points[0] / 100)
    assert box == FractionBox(0.1, 0.2, 0.3, 0.8)
    assert box.in_pixels(200, 50).in_fractions(200, 50) == pytest.approx(box)


def test_of_boxes_of_one_face_the_largest_is_taken_and_others_are_left_alone() -> None:
    small, large, beside = PixelBox(2, 2, 10, 10), PixelBox(0, 0, 10, 10), PixelBox(8, 0, 17, 9)
    assert overlap(small, large) > 0.3 > overlap(beside, large)
    assert distinct([small, beside, large]) == [2, 1]
    assert distinct([small, beside]) == [1, 0]
    assert distinct(list[PixelBox]()) == []
