"""How many frames a second one core draws at 512x512: `python tests/benchmarks/draw.py`.

Faces of about 300 pixels, `expression_aware`, one thread. Measured with the command above on one core of a shared
AMD EPYC server (2 cores, Linux, Python 3.11, numpy 2.4.6); about half of it while others used both cores:

| frames a call | frames/s |
|---|---|
| 1 | 5,500 |
| 16 | 12,500 |
| 480 | 8,000 |

A large batch pays for fresh memory of 786 kB a frame: where the system hands that out slowly, it has been seen at 700
frames/s on the first pass. The two masks of a frame cost 1.0 ms together.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time

import numpy as np

from fye_model.landmarks.drawing import draw_landmarks
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.masks import expression_mask, face_mask
from fye_model.landmarks.pupils import place_pupils

SIZE = 512
FRAMES = 480


def faces() -> np.ndarray:
    """The mean face turning from side to side: (FRAMES, 478, 2) pixels."""
    geometry = FaceGeometry.mean_mesh()
    yaw = np.radians(30) * np.sin(np.linspace(0, 20, FRAMES))
    matrix = np.tile(np.eye(4), (FRAMES, 1, 1))
    matrix[:, 0, 0] = matrix[:, 2, 2] = np.cos(yaw)
    matrix[:, 0, 2], matrix[:, 2, 0] = np.sin(yaw), -np.sin(yaw)
    matrix[:, 2, 3] = -30
    mesh = geometry.project(np.tile(geometry.canonical, (FRAMES, 1, 1)), matrix, SIZE, SIZE)
    front = np.concatenate([mesh[:1], np.tile(mesh[:1, [33, 263]].mean(axis=1, keepdims=True), (1, 10, 1))], axis=1)
    return place_pupils(mesh, np.repeat(front, FRAMES, axis=0))


def rate(points: np.ndarray, batch: int, repeats: int = 3) -> float:
    """Best frames a second of several passes over the points, drawn `batch` at a time."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        for first in range(0, len(points), batch):
            draw_landmarks(points[first : first + batch], SIZE, SIZE)
        seconds.append(time.perf_counter() - start)
    return len(points) / min(seconds)


def main() -> None:
    points = faces()
    for batch in (1, 16, 480):
        print(f"batch of {batch:3d}: {rate(points, batch):6.0f} frames/s")
    start = time.perf_counter()
    expression_mask(points, SIZE, SIZE)
    face_mask(points, SIZE, SIZE)
    print(f"both masks: {(time.perf_counter() - start) / len(points) * 1e3:.2f} ms a frame")


if __name__ == "__main__":
    main()
