"""How fast the landmark worker is, and how much of it is detection: `python -m tests.benchmarks.landmarks CLIP...`.

Frames for one second of one core's time: decoding, detection, landmarks, masks, scores and writing, on square clips
of 512 pixels cut from four real videos (528 frames of talking heads). Measured on 2-core x86-64 VMs with 24 GB whose
cores were busy, Python 3.11, ai-edge-litert 2.3.0, mediapipe 0.10.33, OMP_NUM_THREADS=1; the first two rows on a later
machine than the others, where the graph gave 86 to 91 frames/s by `extract.py`, the first on three of the videos (318
frames) and while it was busier than for the second:

| landmark model | frames/s | in the landmark model | faces found |
|---|---|---|---|
| face_landmarker_v2, its models alone, sixteen frames at a time | 124 | 66% | 100% |
| face_landmarker_v2, its models alone | 112 | 69% | 100% |
| face_landmarker_v2, in MediaPipe's graph | 58 | 75% | 100% |
| attention_mesh (fallback) | 88 | 67% | 100% |

Half of the rest is decoding; the others are masks, tables, scores and second looks. A clip whose face is in doubt is
looked at some fifty times more: 120 frames of one such take twice as long. The faster the model, the smaller its
share.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fye_model.config import AutoencoderConfig, LandmarkConfig, Runtime
from tasks.engine.items import Given
from tasks.engine.stage import Context
from tasks.faces.landmarker import resolve_landmarker
from tasks.landmarks import AT_ONCE, LandmarkFacts, LandmarkWorker
from tasks.media.read import iter_frames
from tasks.media.write import write_video


def square_clip(source: Path, folder: Path, frames: int, size: int = 512) -> dict[str, Path]:
    """The middle square of a video's first frames, as the clip stage would hand it on."""

    def squares() -> list[np.ndarray]:
        found = []
        for rgb in iter_frames(source, 0, frames):
            side = min(rgb.shape[:2])
            top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
            image = Image.fromarray(np.ascontiguousarray(rgb[top : top + side, left : left + side]))
            found.append(np.asarray(image.resize((size, size), Image.Resampling.LANCZOS)))
        return found

    count = write_video(folder / "clip.mp4", squares(), 25.0)
    pq.write_table(pa.table({"time_s": np.arange(count) / 25.0}), folder / "frames.parquet")
    return {"video": folder / "clip.mp4", "frames": folder / "frames.parquet"}


def main() -> None:
    """Time each clip, whole and detection alone; the fastest of the rounds counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asset = resolve_landmarker()
    context = Context(Runtime(workers=0), "cpu", asset)
    facts = LandmarkFacts(factor=AutoencoderConfig().factor)
    with LandmarkWorker(LandmarkConfig(), context) as worker, tempfile.TemporaryDirectory() as folder:
        total_frames, total_s, total_detect_s = 0, 0.0, 0.0
        for source in arguments.clips:
            place = Path(folder) / source.stem
            place.mkdir()
            files = square_clip(source, place, arguments.frames)
            item = Given(source.stem, files, facts, place)
            whole_s, detect_s = [], []
            for _ in range(arguments.rounds):
                begun = time.process_time()
                row = worker.process(item)
                whole_s.append(time.process_time() - begun)
                frames = list(iter_frames(files["video"]))
                begun = time.process_time()
                for start in range(0, len(frames), AT_ONCE):
                    worker.landmarker.detect_each(frames[start : start + AT_ONCE])
                detect_s.append(time.process_time() - begun)
            count = row.frames
            share = min(detect_s) / min(whole_s)
            print(
                f"{source.stem}: {count} frames, {count / min(whole_s):.0f} frames/s, detection {share:.0%}, "
                f"found {row.detection_rate:.1%}, face {row.face_fraction:.2f} of the height"
            )
            total_frames += count
            total_s += min(whole_s)
            total_detect_s += min(detect_s)
        rate, share = total_frames / total_s, total_detect_s / total_s
        print(f"{asset.model}: {rate:.0f} frames/s, detection {share:.0%} of the time")


if __name__ == "__main__":
    main()
