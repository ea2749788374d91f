"""Masks against their definitions, written out pixel by pixel, and their averages at latent size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fye_model.landmarks import topology
from fye_model.landmarks.masks import expression_mask, face_mask, latent_masks


@pytest.mark.parametrize("fraction", [0.02, 0.05])
def test_expression_mask_is_every_pixel_near_an_expression_point(turning, fraction: float) -> None:
    points = turning.pixels()[2:4] / 4
    masks = expression_mask(points, 128, 128, fraction)
    centres = np.stack(np.meshgrid(np.arange(128), np.arange(128)), axis=-1) + 0.5
    for mask, face in zip(masks, points, strict=True):
        radius = fraction * (face[:468].max(axis=0) - face[:468].min(axis=0)).max()
        distance = np.linalg.norm(centres[:, :, None] - face[list(topology.EXPRESSION_POINTS)], axis=-1)
        np.testing.assert_array_equal(mask, distance.min(axis=2) <= radius)


def test_every_point_marks_a_pixel_however_small_the_face(turning) -> None:
    points = turning.pixels() / 32  # a face of about 10 pixels
    masks = expression_mask(points, 16, 16, 0.001)
    for mask, face in zip(masks, points, strict=True):
        x, y = np.floor(face[list(topology.EXPRESSION_POINTS)]).astype(int).T
        assert mask[y, x].all()


def test_face_mask_is_what_skimage_fills(turning) -> None:
    measure = pytest.importorskip("skimage.measure")
    points = turning.pixels()[3:6]
    for mask, face in zip(face_mask(points, 512, 512), points, strict=True):
        centres = np.stack(np.meshgrid(np.arange(512), np.arange(512)), axis=-1).reshape(-1, 2) + 0.5
        expected = measure.points_in_poly(centres, face[list(topology.FACE_OVAL)]).reshape(512, 512)
        assert (mask != expected).sum() <= 2  # centres on the line itself
        assert expected.sum() > 10_000


def test_a_folded_oval_has_no_holes() -> None:
    """In profile the oval overlaps itself; a region wound around twice is inside."""
    points = np.zeros((1, topology.POINTS, 2))
    angle = np.linspace(0, 4 * np.pi, len(topology.FACE_OVAL), endpoint=False)
    radius = np.where(angle < 2 * np.pi, 20, 10)
    points[0, topology.FACE_OVAL] = 32 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    mask = face_mask(points, 64, 64)[0]
    assert mask[32, 32] and mask.sum() > 0.9 * np.pi * 20**2


def test_masks_are_cut_at_the_image_border(turning) -> None:
    points = turning.pixels()[4:5]
    shifted = points - points[:, 4:5] + (256, 0)  # the nose on the upper border
    for make in (expression_mask, face_mask):
        wide = make(shifted + 200, 912, 912)
        np.testing.assert_array_equal(make(shifted, 512, 512), wide[:, 200:712, 200:712])
        assert not make(points + 10_000, 512, 512).any()


def test_frames_without_landmarks_have_empty_masks(turning) -> None:
    points = turning.pixels()
    points[1] = np.nan
    for make in (expression_mask, face_mask):
        masks = make(points, 512, 512)
        assert not masks[1].any() and masks[0].any() and masks[2].any()


@pytest.mark.parametrize("factor", [4, 8, 16])
def test_latent_cells_hold_the_mean_of_their_pixels_to_the_bit(turning, factor: int) -> None:
    points = turning.points.copy()
    points[1] = np.nan
    points[2:6, :, :2] += np.array([(-0.5, 0), (0.45, 0), (0, 0.5), (0, -0.5)])[:, None]  # cut by each border
    points[6, :, :2] += 3  # elsewhere
    points[7, :, 0] = 2 * np.abs(points[7, :, 0] - 0.5)  # folded: the oval overlaps itself
    sequence = replace(turning, points=points, width=400, height=512)
    drawn = (expression_mask(sequence.pixels(), 512, 400), face_mask(sequence.pixels(), 512, 400))
    for found, mask in zip(latent_masks(sequence, 0.02, factor), drawn, strict=True):
        cells = mask.reshape(9, 512 // factor, factor, 400 // factor, factor).mean(axis=(2, 4), dtype=np.float32)
        assert found.dtype == np.float32 and np.array_equal(found, cells)
        assert [bool(frame.any()) for frame in found] == [True, False, True, True, True, True, False, True, True]


def test_sides_that_do_not_divide_into_cells_are_an_error(turning) -> None:
    with pytest.raises(ValueError, match="divisible by 8"):
        latent_masks(replace(turning, width=508), 0.02, 8)
