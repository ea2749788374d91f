"""Subtitles and things before the face leave their mark in a clip's scores; light and what faces do leave little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw, ImageFont

from fye_model.config import LandmarkConfig, ScreeningConfig
from tasks.faces.landmarker import LandmarkerAsset
from tasks.landmarks import LANDMARKS, LandmarkFacts, LandmarkRow
from tasks.media.read import read_frames, write_video
from tasks.screening import ScoredClip, screen
from tests.tasks.support import work_on

Score = Callable[[np.ndarray], LandmarkRow]


@pytest.fixture
def score(landmarker_asset: LandmarkerAsset, tmp_path: Path) -> Score:
    def call(frames: np.ndarray) -> LandmarkRow:
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        (place / "out").mkdir(parents=True)
        write_video(place / "clip.mp4", frames, 25.0, crf=10)
        pq.write_table(pa.table({"time_s": np.arange(len(frames)) / 25}), place / "frames.parquet")
        files = {"video": place / "clip.mp4", "frames": place / "frames.parquet"}
        facts = LandmarkFacts(factor=8)
        return work_on(LANDMARKS, LandmarkConfig(), files, facts, place / "out", asset=landmarker_asset)

    return call


@pytest.fixture(scope="module", params=[0, 1], ids=["talking", "turning"])
def frames(request: pytest.FixtureRequest, sample_clips: list[Path]) -> np.ndarray:
    return read_frames(sample_clips[request.param])


def painted(frames: np.ndarray, paint: Callable[[ImageDraw.ImageDraw, int], None]) -> np.ndarray:
    """Frames, each painted on by a function of it and its number."""
    out = []
    for number, frame in enumerate(frames):
        picture = Image.fromarray(frame)
        paint(ImageDraw.Draw(picture), number)
        out.append(np.asarray(picture))
    return np.stack(out)


def reasons(row: LandmarkRow, **limits: float) -> list[str]:
    (verdict,) = screen(
        [ScoredClip(**row.model_dump(), clip="a", name="a", subject="a")], ScreeningConfig.model_validate(limits)
    )
    return [reason for reason in verdict.reasons if "screening.max_" in reason]


def test_subtitles_are_a_line_of_lettering(score: Score, frames: np.ndarray) -> None:
    font, side = ImageFont.load_default(18), frames.shape[2]

    def subtitle(draw: ImageDraw.ImageDraw, number: int) -> None:
        place = (side / 2, 0.92 * side)
        draw.text(place, "what do you mean?", (255, 255, 255), font, "mm", stroke_width=2, stroke_fill=(0, 0, 0))

    clean, titled = score(frames), score(painted(frames, subtitle))
    assert clean.lettering is not None and titled.lettering is not None
    assert clean.lettering <= 0.2 and titled.lettering >= 0.5
    assert clean.covered == pytest.approx(titled.covered, abs=0.03)
    assert not reasons(clean, max_lettering=0.3, max_covered=0.15)
    (reason,) = reasons(titled, max_lettering=0.3, max_covered=0.15)
    assert "lettering" in reason and "max_lettering" in reason
    assert not reasons(titled), "nothing is rejected for it unless somebody asks"


@pytest.mark.parametrize(
    "colour", [(40, 40, 45), (235, 235, 230), (110, 70, 55)], ids=["phone", "cup", "hand in shadow"]
)
def test_what_covers_a_cheek_for_half_a_second_is_seen(
    score: Score, frames: np.ndarray, colour: tuple[int, int, int]
) -> None:
    side = frames.shape[2]

    def thing(draw: ImageDraw.ImageDraw, number: int) -> None:
        if 8 <= number < 22:
            draw.ellipse((0.5 * side, 0.45 * side, 0.7 * side, 0.75 * side), fill=colour)

    row = score(painted(frames, thing))
    assert row.covered is not None and row.covered > 0.15
    assert reasons(row, max_covered=0.15)


def test_a_change_of_light_covers_nothing(score: Score, frames: np.ndarray) -> None:
    light = (1 - 0.3 * np.linspace(0, 1, len(frames)))[:, None, None, None]
    row = score((frames * light).astype(np.uint8))
    assert row.covered is not None and row.covered < 0.1


def test_a_clip_too_short_for_it_is_not_judged(score: Score, frames: np.ndarray) -> None:
    row = score(frames[:18])
    assert (row.covered, row.lettering) == (None, None)
    assert not reasons(row, max_lettering=0.0, max_covered=0.0)
