"""Finished evaluations for tests of what reads them: real scores of a face whose motion is known, as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fye_model.config import SamplingConfig
from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.scores import score
from fye_model.evaluation.windows import motion
from fye_model.files import write_json
from fye_model.landmarks.geometry import FaceGeometry
from tasks.results.cross_tables import summarise_cross
from tasks.results.records import ClipRecord
from tasks.results.reenactment import HeldOut, protocol
from tasks.results.tables import summarise, write_results
from tests.fye_model.evaluation.moving_face import face, track

FRAMES, SIZE, CLIPS = 12, 24, 4
HELD_OUT = HeldOut("face_landmarker_v2:64184e22", SIZE, 25.0, FaceGeometry.mean_mesh(), [])


def make_record(number: int, amplitude: float, noise: float, *, contrast: int = 60, start: int = 0) -> ClipRecord:
    """A clip whose result moves its mouth `amplitude` as far as the truth, in pictures that are `noise` levels off."""
    rng = np.random.default_rng(number)
    mouth = 1 + np.sin(np.arange(FRAMES) / 2 + number)
    pictures = rng.integers(90, 90 + contrast, (FRAMES, SIZE, SIZE, 3)).astype(np.uint8)
    truth = Truth(pictures, track([face(opening) for opening in mouth], SIZE))
    moved = track([face(1 + amplitude * (opening - 1) + 0.02 * rng.normal()) for opening in mouth], SIZE)
    off = (pictures + rng.normal(noise, 1 + noise, pictures.shape)).clip(0, 255).astype(np.uint8)
    still = Comparison(truth, np.repeat(pictures[:1], FRAMES, axis=0), track([face(mouth[0])] * FRAMES, SIZE))
    return ClipRecord(
        clip=f"id-{number}",
        name=f"clip-{number}",
        subject=f"person-{number}",
        span=(start, start + FRAMES),
        reference=start,
        trained_on=False,
        not_driven=0,
        motion=motion(truth.signals),
        scores={"model": score(Comparison(truth, off, moved)), "baseline": score(still)},
        truth_signals={name: tuple(map(float, values)) for name, values in truth.signals.items()},
        video="videos/x.mp4",
        strip="strips/x.png",
    )


def write_evaluation(folder: Path, records: list[ClipRecord], held_out: HeldOut = HELD_OUT, steps: int = 5) -> Path:
    """An evaluation's folder, as an evaluation leaves it."""
    terms = protocol(held_out, SamplingConfig(steps=steps), FRAMES, SIZE, "expression_aware")
    for record in records:
        write_json(folder / "records" / f"{record.clip}.json", {**record.to_json(), "schema": 2, "key": "k"})
    write_results(records, folder / "results.parquet")
    crossed = summarise_cross([], "left out: nobody else")
    write_json(folder / "metrics.json", {**summarise(records, terms), "cross": crossed})
    return folder
