"""A picture is turned so that a face stands upright, and what is put back lies as it lay."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fye_model.animation.portrait import Cut
from fye_model.animation.turn import Turn
from fye_model.landmarks.boxes import Square

WIDTH, HEIGHT = 120, 80


def picture() -> np.ndarray:
    """Smooth colours, so that resampling changes little."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 2, y * 3, 128 + 60 * np.sin(x / 15) * np.cos(y / 12)], axis=-1).astype(np.uint8)


def spot(at: tuple[int, int]) -> Image.Image:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[at[1] - 1 : at[1] + 1, at[0] - 1 : at[0] + 1] = 255
    return Image.fromarray(image)


@pytest.mark.parametrize("deg", [0, 90, 180, -90, 30, -135, 7.5])
def test_points_go_where_the_pixels_go_and_come_back(deg: float) -> None:
    turn, at = Turn(WIDTH, HEIGHT, deg), (90, 20)
    turned = turn.picture(spot(at))
    assert turned.size == turn.size
    light = np.asarray(turned, float)[..., 0]
    rows, columns = np.nonzero(light > 60)
    seen = columns.mean() + 0.5, rows.mean() + 0.5
    np.testing.assert_allclose(turn.there(np.array(at, float)), seen, atol=0.5)
    np.testing.assert_allclose(turn.back(turn.there(np.array([[3.0, 70.0]]))), [[3, 70]])


def test_a_quarter_is_counter_clockwise_and_exact() -> None:
    np.testing.assert_array_equal(
        np.asarray(Turn(WIDTH, HEIGHT, 90).picture(Image.fromarray(picture()))), np.rot90(picture())
    )
    np.testing.assert_array_equal(
        np.asarray(Turn(WIDTH, HEIGHT, -90).picture(Image.fromarray(picture()))), np.rot90(picture(), -1)
    )


def test_corners_that_a_turn_leaves_empty_repeat_the_border() -> None:
    turned = np.asarray(Turn(WIDTH, HEIGHT, 45).picture(Image.new("RGB", (WIDTH, HEIGHT), (200, 100, 50))))
    assert (turned == (200, 100, 50)).all()


@pytest.mark.parametrize("deg", [0, 90, 180, -90, 30, -135])
def test_pasting_back_what_was_cut_changes_next_to_nothing(deg: float) -> None:
    turn = Turn(WIDTH, HEIGHT, deg)
    width, height = turn.size
    cut = Cut(turn, Square(width // 2 - 25, height // 2 - 20, 44))
    frame = np.asarray(cut.picture(Image.fromarray(picture()), 44))
    back = cut.paste(picture(), frame).astype(int)
    assert np.abs(back - picture()).max() <= (0 if turn.quarters is not None else 6)


def test_a_turned_square_is_pasted_over_its_own_place_alone() -> None:
    cut = Cut(Turn(WIDTH, HEIGHT, 45), Square(*(np.array(Turn(WIDTH, HEIGHT, 45).size) // 2 - 20), 40))
    result = cut.paste(np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.full((40, 40, 3), 200, np.uint8))
    assert result[HEIGHT // 2, WIDTH // 2].tolist() == [200, 200, 200]
    reach = np.nonzero(result[HEIGHT // 2, :, 0])[0]
    assert reach[-1] - reach[0] > 44, "along its diagonal"
    assert not result[HEIGHT // 2 - 20, WIDTH // 2 - 20].any(), "the corner of a square that is not turned"


def test_a_mask_says_where_a_square_shows() -> None:
    for deg in (0, 90, 20):
        turn = Turn(WIDTH, HEIGHT, deg)
        width, height = turn.size
        mask = np.zeros((40, 40), np.float32)
        mask[10:30, 10:30] = 1
        cut = Cut(turn, Square(width // 2 - 20, height // 2 - 20, 40))
        result = cut.paste(np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.full((40, 40, 3), 200, np.uint8), mask)
        assert result[HEIGHT // 2, WIDTH // 2, 0] == 200 and (result > 0).all(axis=-1).sum() < 21 * 21 * 1.3
