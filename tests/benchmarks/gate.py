"""`make bench`: extraction, drawing and loading, each beside a plain loop in the same run, red or green.

A ratio of processor seconds hardly depends on the machine or on what else it does, so ratios are stored
(`ratios.json`) and compared; more than `TOLERANCE` above the stored one is red, and the command ends with 1. A change
that makes something faster stores its new ratios with `--store`. Never in continuous integration: a benchmark that
fails there for no reason is one that nobody reads.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

RATIOS = Path(__file__).with_name("ratios.json")
TOLERANCE = 0.15
_ROUNDS = 3


def extraction() -> float:
    """The data half over decode, detect, save; on sample clips."""
    from tasks.faces.landmarker import resolve_landmarker
    from tests.benchmarks.extract import processor_seconds, sample_videos

    asset = resolve_landmarker()
    if not asset.has_matrix:
        raise SystemExit("extraction is measured with face_landmarker.task: set FYE_ASSETS")
    with tempfile.TemporaryDirectory() as folder:
        videos = sample_videos(Path(folder) / "samples")
        (Path(folder) / "work").mkdir()
        return processor_seconds(videos, asset, Path(folder) / "work")["ratio"]


def drawing() -> float:
    """Landmark pictures of 16 frames at a time over a loop of OpenCV's lines, frame by frame."""
    import cv2

    from fye_model.landmarks import topology
    from fye_model.landmarks.drawing import draw_landmarks
    from tests.benchmarks.draw import SIZE, faces

    points = faces()[:128]
    edges = [(edge, part.colour) for part in topology.PARTS for edge in part.edges]

    def plain() -> None:
        for frame in points.astype(int):
            picture = np.zeros((SIZE, SIZE, 3), np.uint8)
            for (a, b), colour in edges:
                cv2.line(picture, tuple(map(int, frame[a])), tuple(map(int, frame[b])), colour, 1)
            for pupil in topology.PUPILS:
                x, y = frame[pupil]
                picture[y - 3 : y + 3, x - 3 : x + 3] = topology.PUPIL_COLOUR

    def ours() -> None:
        for first in range(0, len(points), 16):
            draw_landmarks(points[first : first + 16], SIZE, SIZE)

    return _seconds(ours) / _seconds(plain)


def loading() -> float:
    """Training samples over a loader that opens its files for every one."""
    from tests.benchmarks.load import ratio

    return ratio()


BENCHES = {"extraction": extraction, "drawing": drawing, "loading": loading}


def _seconds(work: Callable[[], None]) -> float:
    work()
    taken = []
    for _ in range(_ROUNDS):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return min(taken)


def judge(found: Mapping[str, float], stored: Mapping[str, float]) -> tuple[list[str], bool]:
    """(a line each, whether all are green). What has no stored ratio is red: it was never held to anything."""
    lines, green = [], True
    for name, ratio in found.items():
        if name not in stored:
            lines.append(f"RED    {name:<12} {ratio:.3f}, and no ratio is stored; store one with --store")
            green = False
            continue
        change = ratio / stored[name] - 1
        good = change <= TOLERANCE
        green &= good
        word = "slower" if change > 0 else "faster"
        lines.append(
            f"{'green' if good else 'RED  '}  {name:<12} {ratio:.3f} of the plain loop, {stored[name]:.3f} stored: "
            f"{abs(change):.0%} {word}"
        )
    return lines, green


def main(words: list[str] | None = None) -> int:
    """Measure, tell, and end with 1 where something is red."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHES], help="which; all without")
    parser.add_argument("--store", action="store_true", help="keep what was measured as what is expected")
    given = parser.parse_args(words)
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        raise SystemExit("benchmarks are no part of continuous integration: run make bench by hand")
    found = {name: BENCHES[name]() for name in given.names or BENCHES}
    stored = json.loads(RATIOS.read_text()) if RATIOS.exists() else {}
    if given.store:
        kept = {**stored, **{name: round(ratio, 3) for name, ratio in found.items()}}
        RATIOS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        stored = kept
    lines, green = judge(found, stored)
    print("\n".join(lines))
    return 0 if green else 1


if __name__ == "__main__":
    sys.exit(main())
