"""A made square put back: around a head that moved the picture stands, with no square and no second head in it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, shift

from fye_model.animation.paste_back import PasteBack
from fye_model.animation.portrait import Cut
from fye_model.animation.turn import Turn
from fye_model.landmarks.boxes import Square
from fye_model.landmarks.masks import face_mask
from tests.fye_model.animation.test_transfer import SIZE, perform

FPS = 25.0
SIDE = 160  # of the square, pixels of the picture
MODEL = 80
FRAMES = 12
MOVED = np.linspace(0, 10, FRAMES)  # pixels of the picture, to the right


def face(size: int, width: float) -> np.ndarray:
    """A face (478, 2) in the middle of a `size` square, as wide as this part of it."""
    points = perform(frames=1).pixels()[0] / SIZE
    return ((points - points.mean(axis=0)) / np.ptp(points[:, 0]) * width + 0.5) * size


def portrait() -> np.ndarray:
    """A head with hair that reaches beyond the square, before a wall of planks: (240, 320, 3) uint8."""
    rows, columns = np.mgrid[:240, :320]
    result = np.where((columns // 12 % 2)[..., None], (150, 170, 180), (170, 160, 140)).astype(float)
    away = np.hypot((columns - 160) / 75, (rows - 115) / 100)
    result[away < 1] = (60, 40, 30)
    inside = face_mask(face(SIDE, 0.6)[None] + np.array([80, 40]), 240, 320)[0]
    result[inside] = (200, 150, 130)
    return gaussian_filter(result, (1, 1, 0)).astype(np.uint8)


CUT = Cut(Turn(320, 240), Square(80, 40, SIDE))


def made(tint: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """What a model draws: the head moves, the wall has lost its planks, colours are off: (f, MODEL, MODEL, 3) uint8."""
    frames = []
    for moved in MOVED:
        there = shift(portrait().astype(float), (0, moved, 0), order=1, mode="nearest")
        wall = there.max(axis=-1) > 135
        there[wall & (there[..., 0] - there[..., 2] < 45)] = (165, 165, 165)
        square = Image.fromarray((there + np.array(tint)).clip(0, 255).astype(np.uint8))
        frames.append(np.asarray(CUT.picture(square, MODEL)))
    return np.stack(frames)


def drawn() -> np.ndarray:
    return face(MODEL, 0.6) + np.stack([MOVED * MODEL / SIDE, 0 * MOVED], axis=-1)[:, None]


def put_back(squares: np.ndarray, own: np.ndarray | None, cut: Cut = CUT) -> np.ndarray:
    reference = cut.picture(Image.fromarray(portrait()), MODEL)
    put = PasteBack(cut, reference, own, drawn(), FPS)
    return np.stack([put(portrait(), square, frame) for frame, square in enumerate(squares)])


def at_the_border(pictures: np.ndarray) -> np.ndarray:
    """The outer tenth of the square, (f, n, 3)."""
    ring = np.zeros(pictures.shape[1:3], bool)
    ring[40 : 40 + SIDE, 80 : 80 + SIDE] = True
    ring[56 : 24 + SIDE, 96 : 64 + SIDE] = False
    return pictures[:, ring].astype(float)


def edges(pictures: np.ndarray) -> float:
    """Mean steepness of the wall beside the head, within the square."""
    return float(np.abs(np.diff(pictures.astype(float).mean(axis=-1), axis=2))[:, 50:110, 84:96].mean())


def test_where_the_square_ends_the_portrait_stands_and_inside_the_face_is_the_made_one() -> None:
    squares, whole = made(), np.repeat(portrait()[None], FRAMES, axis=0)
    ours, as_a_square = put_back(squares, face(MODEL, 0.6)), put_back(squares, None)
    off = [np.abs(at_the_border(found) - at_the_border(whole)).mean() for found in (as_a_square, ours)]
    assert off[0] > 5 and off[1] < 0.4 * off[0], off
    inside = face_mask((face(SIDE, 0.6) + np.array([80 + MOVED[-1], 40]))[None], 240, 320)[0]
    skin = np.abs(ours[-1].astype(int) - as_a_square[-1])[inside]
    assert np.median(skin) <= 1, "the face itself is the made one"
    outside = np.ones((240, 320), bool)
    outside[40 : 40 + SIDE, 80 : 80 + SIDE] = False
    assert (ours[:, outside] == whole[:, outside]).all()


def test_the_planks_beside_the_head_keep_their_edges() -> None:
    squares, whole = made(), np.repeat(portrait()[None], FRAMES, axis=0)
    kept = edges(put_back(squares, face(MODEL, 0.6))) / edges(whole)
    assert edges(put_back(squares, None)) / edges(whole) < 0.92 < 0.97 < kept < 1.03, kept


def test_the_skin_keeps_its_colour_and_the_blend_is_steady() -> None:
    own = face(MODEL, 0.6)
    plain, tinted = (put_back(made(tint), own).astype(float) for tint in ((0, 0, 0), (10, -8, 6)))
    inside = face_mask((face(SIDE, 0.4) + np.array([80, 40]))[None], 240, 320)[0]
    assert np.abs(tinted[:, inside].mean(axis=1) - (200, 150, 130)).max() < 2.5
    shaken = drawn() + np.random.default_rng(0).normal(0, 0.3, (FRAMES, 1, 2))
    put = [PasteBack(CUT, Image.new("RGB", (MODEL, MODEL)), own, points, FPS) for points in (drawn(), shaken)]
    changes = [np.abs(np.diff([one.mask(frame) for frame in range(FRAMES)], axis=0)).mean() for one in put]
    assert changes[1] < 1.6 * changes[0], "detection's jitter is not seen at the seam"
    assert np.abs(np.diff(plain[:, ~inside], axis=0)).mean() < 1.5


@pytest.mark.parametrize("deg", [0, 90, 180, -90])
def test_a_square_that_nothing_changed_in_leaves_the_picture_as_it_is(deg: float) -> None:
    turn = Turn(320, 240, deg)
    width, height = turn.size
    cut = Cut(turn, Square(width // 2 - 60, height // 2 - 60, 120))
    square = np.asarray(cut.picture(Image.fromarray(portrait()), 120))
    put = PasteBack(cut, Image.fromarray(square), face(120, 0.6), np.repeat(face(120, 0.6)[None], 3, axis=0), FPS)
    assert np.abs(put(portrait(), square, 1).astype(int) - portrait()).max() <= 1


def test_at_the_pictures_own_border_nothing_has_to_be_met() -> None:
    cut = Cut(Turn(320, 240), Square(0, 0, SIDE))
    assert cut.seams == (False, False, True, True)
    put = PasteBack(cut, Image.new("RGB", (MODEL, MODEL)), face(MODEL, 0.95), face(MODEL, 0.95)[None], FPS)
    mask = put.mask(0)
    assert mask is not None
    assert mask[SIDE // 2, 0] > 0.9 and mask[SIDE // 2, -1] == 0 and mask[0, SIDE // 2] > mask[-1, SIDE // 2] == 0
