"""Pictures of landmarks: the release's pixel by pixel, OpenCV's lines, variants, sizes, borders and missing frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fye_model.landmarks import topology
from fye_model.landmarks.drawing import draw_landmarks, landmark_points
from fye_model.landmarks.geometry import FaceGeometry

PORTRAITS = ("s9.jpg", "s7.jpg", "s6.jpg")


def lit(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (image == np.array(colour, np.uint8)).all(axis=-1)


@pytest.mark.parametrize("drop_outside", [False, True])
def test_the_releases_pictures_are_reproduced_pixel_by_pixel(official, drop_outside: bool) -> None:
    pairs = [(official["driver/lmks"][..., :2] * 512, official["driver/drawn"])]
    for name in PORTRAITS:
        pairs.append((official[f"reference/{name}/lmks"][None, :, :2] * 512, official[f"reference/{name}/drawn"][None]))
        pairs.append((official[f"aligned/{name}/points"][1:], official[f"aligned/{name}/drawn"]))
    for points, expected in pairs:
        drawn = draw_landmarks(points, 512, 512, drop_outside=drop_outside)
        np.testing.assert_array_equal(drawn, expected)


def test_lines_are_opencvs() -> None:
    cv2 = pytest.importorskip("cv2")
    random = np.random.default_rng(0)
    points = random.uniform(0, 64, (20, topology.POINTS, 2))
    drawn = draw_landmarks(points, 64, 64, "without_pupils")
    for image, face in zip(drawn, points.astype(np.float32).astype(int).tolist(), strict=True):
        expected = np.zeros((64, 64, 3), np.uint8)
        for part in topology.PARTS:
            for a, b in part.edges:
                cv2.line(expected, face[a], face[b], part.colour, 1)
        np.testing.assert_array_equal(image, expected)


def test_variants_differ_in_contour_and_pupils_only(turning) -> None:
    points = turning.pixels()
    plain = draw_landmarks(points, 512, 512)
    contour = draw_landmarks(points, 512, 512, "with_contour")
    blind = draw_landmarks(points, 512, 512, "without_pupils")
    np.testing.assert_array_equal(draw_landmarks(points, 512, 512, "plain_2d"), plain)
    pupils, oval = lit(plain, topology.PUPIL_COLOUR), lit(contour, topology.CONTOUR.colour)
    assert (pupils.sum(axis=(1, 2)) > 36).all() and not lit(blind, topology.PUPIL_COLOUR).any()
    assert (oval.sum(axis=(1, 2)) > 300).all() and not lit(plain, topology.CONTOUR.colour).any()
    np.testing.assert_array_equal(np.where(pupils[..., None], blind, plain), blind)
    np.testing.assert_array_equal(contour[~oval], plain[~oval])


def test_every_part_appears_in_its_colour(turning) -> None:
    image = draw_landmarks(turning.pixels(), 512, 512)[4]
    for part in topology.PARTS:
        assert lit(image, part.colour).sum() > 5, part.name


@pytest.mark.parametrize(
    ("size", "line", "square"), [(64, 1, 2), (256, 1, 4), (512, 1, 6), (1024, 2, 12), (1536, 3, 18)]
)
def test_line_and_square_scale_with_the_image(size: int, line: int, square: int) -> None:
    points = np.full((1, topology.POINTS, 2), size * 0.1)
    points[:, topology.RIGHT_PUPIL] = points[:, topology.LEFT_PUPIL] = size / 2
    points[:, 13] = (size * 0.1, size * 0.7)
    points[:, 312] = (size * 0.4, size * 0.7)  # the only line in the lower part that is not steep
    image = draw_landmarks(points, size, size)[0]
    assert lit(image, topology.PUPIL_COLOUR).sum() == square**2
    column = lit(image, topology.PARTS[-1].colour)[int(size * 0.65) :, int(size * 0.3)]
    assert column.sum() == line


def test_a_frame_without_landmarks_is_black_and_leaves_the_others_alone(turning) -> None:
    points = turning.pixels()
    whole = draw_landmarks(points, 512, 512)
    points[3, 100] = np.nan
    drawn = draw_landmarks(points, 512, 512)
    assert not drawn[3].any()
    keep = np.arange(9) != 3
    np.testing.assert_array_equal(drawn[keep], whole[keep])


def test_lines_are_cut_at_the_border_and_dropped_as_in_the_release_when_asked(turning) -> None:
    # The image's left border runs through a line of the left brow.
    points = turning.pixels()[4:5]
    points[..., 0] -= points[:, [282, 295], 0].mean()
    inside = draw_landmarks(np.add(points, (200, 0)), 512, 712)[:, :, 200:]
    cut = draw_landmarks(points, 512, 512)
    np.testing.assert_array_equal(cut, inside)
    dropped = draw_landmarks(points, 512, 512, drop_outside=True)
    assert 0 < dropped.any(axis=-1).sum() < cut.any(axis=-1).sum()


def test_points_far_outside_draw_nothing_and_cost_nothing() -> None:
    assert not draw_landmarks(np.full((2, topology.POINTS, 2), 1e12), 64, 64).any()
    assert draw_landmarks(np.zeros((0, topology.POINTS, 2)), 64, 48).shape == (0, 64, 48, 3)


def test_wide_and_tall_images_put_x_and_y_where_they_belong(turning) -> None:
    image = draw_landmarks(turning.pixels()[4:5] * (0.5, 0.25), 128, 256)[0]
    y, x = np.nonzero(lit(image, topology.PUPIL_COLOUR))
    expected = turning.pixels()[4, list(topology.PUPILS)].mean(axis=0) * (0.5, 0.25)
    np.testing.assert_allclose([x.mean() + 0.5, y.mean() + 0.5], expected, atol=1.0)


def test_the_projected_face_lands_on_the_detected_one(detected, geometry) -> None:
    """What training draws differs from the raw 2D landmarks by rounding only, irises included."""
    for name, sequence in detected.items():
        points = landmark_points(sequence, "expression_aware", geometry)
        raw = landmark_points(sequence, "plain_2d")
        iod = topology.interocular_distance(raw)[:, None]
        error = np.linalg.norm(points - raw, axis=2) / iod
        assert error.max() < 1e-6, name


def test_an_invalid_frame_has_no_points(turning) -> None:
    points = turning.points.copy()
    points[2] = np.nan
    drawn = landmark_points(replace(turning, points=points), "expression_aware", FaceGeometry.mean_mesh())
    assert np.isnan(drawn[2]).all() and np.isfinite(np.delete(drawn, 2, axis=0)).all()


def test_wrong_requests_are_explained(turning) -> None:
    with pytest.raises(ValueError, match="expression_aware, plain_2d"):
        draw_landmarks(turning.pixels(), 64, 64, "sketch")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="478"):
        draw_landmarks(np.zeros((478, 2)), 64, 64)
    with pytest.raises(ValueError, match="geometry"):
        landmark_points(turning, "with_contour")
