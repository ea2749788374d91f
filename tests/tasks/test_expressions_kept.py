"""Exaggerated expressions are what the data are for: real crossed eyes, pouts and grimaces pass every preset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fye_model.config import ClipConfig, LandmarkConfig, ScreeningConfig
from fye_model.landmarks import topology
from fye_model.landmarks.aspects import EXPRESSIONS, SeenFace
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.table import read_landmarks
from fye_model.recipes import SCREENING_PRESETS
from tasks.clips import CLIPS, ClipsRow, CutSettings
from tasks.faces.landmarker import LandmarkerAsset
from tasks.landmarks import LANDMARKS, LandmarkFacts, LandmarkRow
from tasks.media.span import SpanFacts
from tasks.screening import ScoredClip, screen
from tests.tasks.support import work_on

SHOWN = (("d6", 17.4, 19.4, "crossed_eyes"), ("d13", 1.4, 2.8, "pout"), ("d9", 3.4, 5.2, "pout"))


@pytest.mark.parametrize(("video", "start_s", "end_s", "expression"), SHOWN)
def test_a_real_grimace_becomes_a_clip_and_is_kept_by_every_preset(
    shared: Path,
    landmarker_task: Path,
    landmarker_asset: LandmarkerAsset,
    tmp_path: Path,
    video: str,
    start_s: float,
    end_s: float,
    expression: str,
) -> None:
    out = {name: tmp_path / name for name in ("clips", "landmarks")}
    for folder in out.values():
        folder.mkdir()
    source = {"source": shared / "data" / "driving" / f"{video}.mp4"}
    facts, settings = SpanFacts(start_s=start_s, end_s=end_s), CutSettings(clips=ClipConfig(size=256))
    cut = work_on(CLIPS, settings, source, facts, out["clips"], asset=landmarker_asset)
    assert isinstance(cut, ClipsRow) and len(cut.clips) == 1 and not cut.rejected
    files = {"video": out["clips"] / "000" / "clip.mp4", "frames": out["clips"] / "000" / "frames.parquet"}
    row = work_on(LANDMARKS, LandmarkConfig(), files, LandmarkFacts(factor=8), out["landmarks"], asset=landmarker_asset)
    assert isinstance(row, LandmarkRow)
    face = SeenFace.read(out["landmarks"] / "landmarks.parquet")
    (aspect,) = [aspect for aspect in EXPRESSIONS if aspect.name == expression]
    assert aspect.seconds(face) > 0, "the grimace is in these frames"
    scored = ScoredClip(**row.model_dump(), clip="a", name=video, subject=video)
    for preset in SCREENING_PRESETS:
        (verdict,) = screen([scored], ScreeningConfig.model_validate({"preset": preset}))
        assert verdict.kept, (preset, verdict.reasons)
    asked = ScreeningConfig(max_covered=0.15, max_lettering=0.3)
    assert row.covered is not None and row.lettering is not None and screen([scored], asked)[0].kept
    assert row.head.not_alone == 0 and row.head.inside_min == 1.0
    assert_pose_explains_the_landmarks(out["landmarks"] / "landmarks.parquet", FaceGeometry.from_task(landmarker_task))


def assert_pose_explains_the_landmarks(table: Path, geometry: FaceGeometry) -> None:
    """One rigid face for the whole clip, moved by the stored poses alone, lies on the points that pose is told by to
    within 2% of the IOD, though the face grimaces; each frame's own face lies on them exactly."""
    sequence = read_landmarks(table)
    assert sequence.matrix is not None and sequence.valid.all()
    pixels, matrix = sequence.pixels()[:, : topology.MESH_POINTS], sequence.matrix.astype(np.float64)
    own, _ = geometry.estimate(sequence.points, sequence.width, sequence.height)
    iod = topology.interocular_distance(pixels)[:, None]

    def errors(mesh: np.ndarray) -> np.ndarray:
        shown = geometry.project(mesh, matrix, sequence.width, sequence.height)
        return np.linalg.norm(shown - pixels, axis=2) / iod

    rigid = np.repeat(np.median(own, axis=0)[None], len(matrix), axis=0)
    assert errors(own).max() < 1e-3
    assert errors(rigid)[:, geometry.basis].mean() < 0.02
