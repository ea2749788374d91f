"""How fast ingest and the clip stage are on one core: `python -m tests.benchmarks.ingest ASSETS VIDEO...`.

ASSETS: folder with face_landmarker.task. Frames per second of CPU time, default settings (25 fps, crf 14, clips of
512 pixels with face search on every 5th frame); source frames for ingest, normalised frames for clips. The two passes
of the clip stage are `scan` (decode, cuts, faces) and `write` (decode, crop, encode, sound, count).

Measured on nine real videos of heads (3,443 frames, 480x480 to 720x1280) on a 2-core x86-64 VM with 24 GB whose cores
were shared, Python 3.11, PyAV 18.1, mediapipe 0.10.33; timings vary by a third from run to run:

| size | ingest | scan | write |
|---|---|---|---|
| 480x480, 512x512 | 166-771 | 254-322 | 222-347 |
| 480x908 | 289 | 228 | 203 |
| 720x1080, 720x1280 | 157-167 | 140-203 | 180-188 |
| all | 355 | 267 | 243 |

Both passes of the clip stage together: 127 frames/s. What is left is decoding, encoding and detection: Python is below
a tenth. Peak memory 288 MB; the same for six times the length.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import resource
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from fye_model.config import ClipConfig, IngestConfig, Runtime
from tasks.clips import ClipWorker, scan_video, write_clips
from tasks.engine.items import Given
from tasks.engine.stage import Context
from tasks.faces.landmarker import resolve_landmarker
from tasks.ingest import IngestFacts, IngestWorker


def main() -> None:
    """Run both stages on each video and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assets", type=Path)
    parser.add_argument("videos", type=Path, nargs="+")
    given = parser.parse_args()
    config = ClipConfig()
    context = Context(Runtime(workers=0), "cpu", resolve_landmarker(given.assets))
    frames = {"ingest": 0, "scan": 0, "write": 0}
    seconds = dict.fromkeys(frames, 0.0)
    print("| video | size | frames | ingest | scan | write |\n|---|---|---|---|---|---|")
    with ClipWorker(config, context) as clips, tempfile.TemporaryDirectory() as folder:
        for number, video in enumerate(given.videos):
            out = Path(folder) / str(number)
            (out / "clips").mkdir(parents=True)
            marks = [time.process_time()]
            item = Given(video.name, {"source": video}, IngestFacts(), out)
            row = IngestWorker(IngestConfig(), context).process(item)
            marks.append(time.process_time())
            scan = scan_video(out / "video.mp4", clips.landmarker, config)
            marks.append(time.process_time())
            audio = out / "audio.flac" if row.has_audio else None
            times = pq.read_table(out / "frames.parquet")
            write_clips(out / "video.mp4", audio, times, scan, config, video.name, out / "clips")
            marks.append(time.process_time())
            counts = (row.source_frames, scan.frames, scan.frames)
            speeds = []
            for part, count, begin, end in zip(frames, counts, marks[:-1], marks[1:], strict=True):
                frames[part] += count
                seconds[part] += end - begin
                speeds.append(f"{count / (end - begin):.0f}")
            size = f"{row.width}x{row.height}"
            print(f"| {video.stem} | {size} | {row.source_frames} | {' | '.join(speeds)} |")
    rates = {part: frames[part] / seconds[part] for part in frames}
    both = 1 / (1 / rates["scan"] + 1 / rates["write"])
    print(f"| all | | {frames['ingest']} | {' | '.join(f'{rate:.0f}' for rate in rates.values())} |")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nboth passes of the clip stage: {both:.0f} frames/s; peak memory of the process: {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
