"""How fast the clip stage is on one core: `python -m tests.benchmarks.cut ASSETS VIDEO...`.

ASSETS: folder with face_landmarker.task. Processor milliseconds a frame, as it is shown, at default settings (25 fps,
crf 12, clips of 512 pixels with face search on every 5th frame): `show` (the source decoded and brought into form),
`scan` (cuts, faces) and `write` (squares cut, encoded, sound, counted). Of sources that are held between the passes; a
longer one takes `show` twice.

Measured on nine real videos of heads (3,443 frames, 480x480 to 720x1280) on a busy 2-core x86-64 VM, Python 3.11, PyAV
18.1, mediapipe 0.10.33; timings vary by a third from run to run:

| size | show | scan | write |
|---|---|---|---|
| 480x480, 512x512 | 0.3-3.0 | 1.7-2.1 | 1.5-3.6 |
| 480x908 | 1.0 | 2.1 | 1.9 |
| 720x1080, 720x1280 | 1.4-1.9 | 3.0-3.7 | 1.8-2.4 |
| all | 0.84 | 2.00 | 1.94 |

209 frames/s. A process that works on them one after the other takes 0.68 GB at most, of which 0.4 are held frames.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import resource
import tempfile
import time
from pathlib import Path

from fye_model.config import ClipConfig, FootageConfig, Runtime
from tasks.clips import ClipWorker, CutSettings, write_clips
from tasks.engine.stage import Context
from tasks.faces.landmarker import resolve_landmarker
from tasks.faces.scan import scan_video
from tasks.media.shown import ShownVideo
from tasks.media.span import SpanFacts, open_sound, show_settings, taken_span


def main() -> None:
    """Run both passes on each video and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assets", type=Path)
    parser.add_argument("videos", type=Path, nargs="+")
    given = parser.parse_args()
    config, context = ClipConfig(), Context(Runtime(workers=0), "cpu", resolve_landmarker(given.assets))
    count, seconds = 0, {"show": 0.0, "scan": 0.0, "write": 0.0}
    print("| video | size | frames | show | scan | write |\n|---|---|---|---|---|---|")
    with ClipWorker(CutSettings(), context) as clips, tempfile.TemporaryDirectory() as folder:
        for number, video in enumerate(given.videos):
            out = Path(folder) / str(number)
            out.mkdir()
            how = show_settings(video, FootageConfig(), SpanFacts())
            begun = time.process_time()
            with ShownVideo(video, how) as shown:
                for _ in shown.frames():
                    pass
            showed = time.process_time()
            with ShownVideo(video, how) as shown:
                scan = scan_video(shown, clips.landmarker, config)
                sound, problem = open_sound(shown, scan.times)
                taken = taken_span(shown, scan.times, sound is not None, problem)
            if scan.held is None:
                raise SystemExit(f"{video} is too long to be held; give a part of it")
            scanned = time.process_time()
            write_clips(scan.held, scan, taken, sound, config, video.name, out)
            ended = time.process_time()
            taken_s = (showed - begun, scanned - showed - (showed - begun), ended - scanned)
            count += scan.frames
            for part, spent in zip(seconds, taken_s, strict=True):
                seconds[part] += spent
            told = " | ".join(f"{1e3 * spent / scan.frames:.2f}" for spent in taken_s)
            print(f"| {video.stem} | {taken.width}x{taken.height} | {scan.frames} | {told} |", flush=True)
    print(f"| all | | {count} | {' | '.join(f'{1e3 * spent / count:.2f}' for spent in seconds.values())} |")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nboth passes: {count / sum(seconds.values()):.0f} frames/s; peak memory of the process: {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
