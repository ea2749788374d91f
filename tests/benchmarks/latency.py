"""What live drawing takes: `python tests/benchmarks/latency.py MODEL [--device cuda] [--steps 4 10 30]`.

A window of frames is drawn together, so a live picture is late by the window's own length and the time to compute it:
least latency = window / fps + seconds to draw a window. It keeps up only where drawing takes less than the window.
Measured is drawing alone, of a random portrait and moving landmarks; finding the driver's face, reading a camera and
showing the result come on top (`fye live` measures them). It needs the library and no landmark model. On a GPU as
animation runs there: half precision, fast path, warmed up.

Measured on one H200 in frames/s, and the least latency in seconds:

| steps | 256 pixels, window 8 | 256 pixels, window 16 |
|---|---|---|
| 4 | 131 (0.38) | 195 (0.72) |
| 10 | 85 (0.41) | 121 (0.77) |
| 30 | 41 (0.51) | 55 (0.93) |

These with the model of recipe `small`. At the paper's 512 pixels, in windows of 16 and with 7 of 30 steps computed, it
is 22.5 frames/s, where a camera brings 25.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fye_model.animation.folder import load_pipeline
from fye_model.animation.inputs import DrawnLandmarks
from fye_model.animation.pipeline import FollowYourEmojiPipeline
from fye_model.landmarks.geometry import FaceGeometry


@dataclass(frozen=True)
class Row:
    """One way to draw: frames computed a second, and the least delay of a picture in seconds."""

    window: int
    steps: int
    frames_per_s: float
    latency_s: float
    keeps_up: bool


def measure(pipeline: FollowYourEmojiPipeline, fps: float, windows: Sequence[int], steps: Sequence[int]) -> list[Row]:
    """Draw windows one after another, each as a video of its own; the first of each kind is not counted."""
    assert pipeline.description is not None, "a model folder has a description"
    size, sampling = pipeline.description.size, pipeline.description.sampling
    portrait = np.random.default_rng(0).integers(0, 256, (size, size, 3)).astype(np.uint8)
    rows = []
    for window in windows:
        landmarks = moving_face(window, size, pipeline.description.landmark_variant)
        for count in steps:
            seconds = []
            for _ in range(3):
                started = time.perf_counter()
                pipeline(
                    portrait,
                    landmarks,
                    num_inference_steps=count,
                    guidance_scale=sampling.guidance_scale,
                    strategy="overlap",
                    window=window,
                    overlap=0,
                    output_type="np",
                )
                seconds.append(time.perf_counter() - started)
            took = min(seconds[1:])
            rows.append(Row(window, count, window / took, window / fps + took, took < window / fps))
    return rows


def moving_face(frames: int, size: int, variant: str) -> DrawnLandmarks:
    """Landmarks of a mean face that moves a little, `frames` of them."""
    mesh = FaceGeometry.mean_mesh().canonical
    points = np.concatenate([mesh, mesh[:10]])[:, :2] * (1, -1)
    points = (points - points.mean(axis=0)) / np.ptp(points, axis=0).max() * size / 2 + size / 2
    shifts = np.sin(np.arange(frames) / 4)[:, None] * size / 40
    return DrawnLandmarks(points[None] + shifts[..., None], size, size, variant)


def table(rows: Sequence[Row], fps: float) -> str:
    """The rows as lines to read."""
    lines = [f"window  steps  frames/s  keeps up with {fps:g}  least latency"]
    for row in rows:
        word = "yes" if row.keeps_up else "no"
        lines.append(f"{row.window:6d} {row.steps:6d} {row.frames_per_s:9.1f}  {word:>17} {row.latency_s:12.2f} s")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--fps", type=float, default=25.0, help="of the camera")
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 10, 30])
    parser.add_argument("--windows", type=int, nargs="+", default=[8, 16])
    asked = parser.parse_args(arguments)
    pipeline = load_pipeline(asked.model, asked.device, print)
    rows = measure(pipeline, asked.fps, asked.windows, asked.steps)
    print(table(rows, asked.fps))
    return rows


if __name__ == "__main__":
    main()
