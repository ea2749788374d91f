"""Landmark and mask files: nothing lost, same bytes for same data, and a clear word about a wrong file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fye_model.landmarks import table
from fye_model.landmarks.table import LandmarkSequence, read_landmarks, read_masks, write_landmarks, write_masks


@pytest.fixture
def sequence(turning: LandmarkSequence) -> LandmarkSequence:
    random = np.random.default_rng(0)
    points = turning.points.copy()
    points[3] = np.nan
    return replace(
        turning,
        points=points,
        matrix=random.normal(size=(9, 4, 4)).astype(np.float32),
        blendshapes=random.uniform(size=(9, 52)).astype(np.float32),
        valid=np.arange(9) != 3,
        interpolated=np.arange(9) == 5,
        fps=30000 / 1001,
    )


def assert_same(a: LandmarkSequence, b: LandmarkSequence) -> None:
    for name in ("points", "matrix", "blendshapes", "valid", "interpolated", "time_s"):
        left, right = getattr(a, name), getattr(b, name)
        if left is None or right is None:
            assert left is None and right is None, name
        else:
            assert left.dtype == right.dtype, name
            np.testing.assert_array_equal(left, right, err_msg=name)
    assert (a.fps, a.width, a.height, a.model) == (b.fps, b.width, b.height, b.model)


def test_a_sequence_comes_back_bit_by_bit(sequence, tmp_path: Path) -> None:
    write_landmarks(sequence, tmp_path / "a.parquet")
    assert_same(read_landmarks(tmp_path / "a.parquet"), sequence)


def test_a_model_without_matrix_or_blendshapes_comes_back_without(sequence, tmp_path: Path) -> None:
    bare = replace(sequence, matrix=None, blendshapes=None)
    write_landmarks(bare, tmp_path / "a.parquet")
    assert_same(read_landmarks(tmp_path / "a.parquet"), bare)


def test_an_empty_sequence_comes_back(sequence, tmp_path: Path) -> None:
    write_landmarks(sequence.select(slice(0, 0)), tmp_path / "a.parquet")
    assert_same(read_landmarks(tmp_path / "a.parquet"), sequence.select(slice(0, 0)))


def test_a_selection_of_a_larger_array_is_written_right(sequence, tmp_path: Path) -> None:
    part = sequence.select(np.array([7, 1, 4]))
    write_landmarks(part, tmp_path / "a.parquet")
    assert_same(read_landmarks(tmp_path / "a.parquet"), part)


def test_equal_data_give_equal_bytes_and_leave_no_temporary_file(sequence, tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        write_landmarks(sequence, tmp_path / name, {"stage": "landmarks", "config": "1234"})
        write_landmarks(sequence, tmp_path / name, {"config": "1234", "stage": "landmarks"})
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_a_failed_write_leaves_the_old_file(sequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    write_landmarks(sequence, path)
    before = path.read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_landmarks(sequence.select(slice(0, 2)), path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_metadata_explain_the_file(sequence, tmp_path: Path) -> None:
    write_landmarks(sequence, tmp_path / "a.parquet", {"config": "1234"})
    metadata = table.read_metadata(tmp_path / "a.parquet")
    assert metadata["config"] == "1234" and metadata["model"] == "synthetic:1"
    assert "fractions of frame width" in metadata["units"]
    with pytest.raises(ValueError, match="may not set model"):
        write_landmarks(sequence, tmp_path / "a.parquet", {"model": "other"})


def test_wrong_files_are_explained(sequence, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with pytest.raises(ValueError, match="no such file"):
        read_landmarks(path)
    write_landmarks(sequence, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="not a readable Parquet file"):
        read_landmarks(path)
    write_masks(path, np.zeros((2, 4, 4)), np.zeros((2, 4, 4)))
    with pytest.raises(ValueError, match="fye-landmarks-1"):
        read_landmarks(path)
    pq.write_table(pa.table({"points": [1.0]}), path)
    with pytest.raises(ValueError, match="schema_version is None"):
        read_landmarks(path)
    kept = pa.table({"valid": [True]}).replace_schema_metadata({"schema_version": table.LANDMARKS_SCHEMA})
    pq.write_table(kept, path)
    with pytest.raises(ValueError, match="points"):
        read_landmarks(path)


def test_wrong_shapes_are_named(sequence) -> None:
    with pytest.raises(ValueError, match=r"blendshapes must have shape \(9, 52\), got \(9, 51\)"):
        replace(sequence, blendshapes=sequence.blendshapes[:, 1:])


def test_pixels_use_the_frames_own_sides(sequence) -> None:
    tall = replace(sequence, width=100, height=200)
    np.testing.assert_allclose(tall.pixels()[0, 7], sequence.points[0, 7, :2].astype(float) * (100, 200))


def test_masks_come_back_as_fractions(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    expression, face = (random.integers(0, 65, (5, 8, 6)) / 64 for _ in range(2))
    write_masks(tmp_path / "m.parquet", expression, face)
    again = read_masks(tmp_path / "m.parquet")
    for read, written in zip(again, (expression, face), strict=True):
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, written)
    with pytest.raises(ValueError, match="shape"):
        write_masks(tmp_path / "m.parquet", expression, face[1:])


def test_two_landmark_models_are_not_mixed() -> None:
    assert table.sequences_same_model(["a", "a"]) == "a"
    with pytest.raises(ValueError, match="a, b"):
        table.sequences_same_model(["b", "a"])
    with pytest.raises(ValueError, match="none"):
        table.sequences_same_model([])
