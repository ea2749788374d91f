"""Any picture becomes an upright RGB one; a square is cut without stretching and put back where it came from."""

import io

import numpy as np
import pytest
from PIL import Image

from fye_model.animation.portrait import cut_square, paste_square, upright_rgb, whole_square
from fye_model.landmarks.boxes import Square


def _picture(width: int = 60, height: int = 40) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 4, y * 6, (x + y) * 2], axis=-1).astype(np.uint8)


def test_a_picture_is_turned_as_its_exif_tag_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to look at it
    buffer = io.BytesIO()
    Image.fromarray(_picture()).save(buffer, "png", exif=exif)
    turned = upright_rgb(Image.open(buffer))
    np.testing.assert_array_equal(np.asarray(turned), np.rot90(_picture(), -1))


def test_transparent_parts_lie_on_white_and_half_transparent_ones_are_mixed() -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    rgba[0, 1, 3] = 128
    rgb = np.asarray(upright_rgb(Image.fromarray(rgba)))
    assert rgb[0, 0].tolist() == [10, 20, 30]
    assert rgb[3, 3].tolist() == [255, 255, 255]
    assert 120 <= rgb[0, 1, 0] <= 135


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK", "I;16", "RGBA", "F"])
def test_every_pil_mode_becomes_rgb(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(_picture()[..., 0].astype(np.uint16) * 257)
        assert image.mode == mode
    else:
        image = Image.fromarray(_picture()).convert("RGB" if mode == "LA" else mode if mode != "F" else "L")
        image = image.convert(mode)
    rgb = upright_rgb(image)
    assert rgb.mode == "RGB" and rgb.size == (60, 40)
    assert np.asarray(rgb).std() > 20


def test_sixteen_bit_greys_keep_their_brightness() -> None:
    grey = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    rgb = np.asarray(upright_rgb(Image.fromarray(grey)))
    np.testing.assert_allclose(rgb[..., 0], grey / 257, atol=1)


def test_a_large_picture_is_shrunk_without_stretching() -> None:
    assert upright_rgb(Image.new("RGB", (4000, 1000)), max_side=1000).size == (1000, 250)


def test_a_square_is_cut_pixel_by_pixel_and_its_points_follow() -> None:
    picture = _picture()
    square = Square(20, 10, 20)
    np.testing.assert_array_equal(np.asarray(cut_square(Image.fromarray(picture), square, 20)), picture[10:30, 20:40])
    np.testing.assert_allclose(square.to_square(np.array([[20.0, 10.0], [40.0, 30.0]]), 40), [[0, 0], [40, 40]])


def test_what_lies_outside_the_picture_repeats_its_border() -> None:
    picture = _picture()
    cut = np.asarray(cut_square(Image.fromarray(picture), whole_square(60, 40), 60))
    np.testing.assert_array_equal(cut[10:50], picture)
    assert (cut[:10] == picture[0]).all() and (cut[50:] == picture[-1]).all()


@pytest.mark.parametrize("square", [Square(20, 10, 20), Square(0, 0, 40), whole_square(60, 40), Square(30, 10, 30)])
def test_pasting_back_what_was_cut_changes_nothing(square: Square) -> None:
    picture = _picture()
    frame = np.asarray(cut_square(Image.fromarray(picture), square, square.side))
    np.testing.assert_array_equal(paste_square(picture, square, np.stack([frame, frame])), np.stack([picture, picture]))


def test_a_pasted_square_replaces_the_middle_keeps_the_rest_and_fades_between() -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    (result,) = paste_square(picture, Square(20, 20, 60), np.full((1, 30, 30, 3), 200, np.uint8), fraction=0.2)
    assert (result[35:65, 35:65] == 200).all()
    outside = result.copy()
    outside[20:80, 20:80] = 0
    assert not outside.any()
    row = result[50, 20:50, 0].astype(int)
    assert row[0] < 10 and (np.diff(row) >= 0).all()


def test_a_square_on_the_border_of_the_picture_has_no_seam_there() -> None:
    square, black = Square(0, 20, 60), np.zeros((100, 100, 3), np.uint8)
    (result,) = paste_square(black, square, np.full((1, 60, 60, 3), 200, np.uint8))
    assert (result[50, :40] == 200).all()
