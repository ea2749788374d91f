"""The data half beside a plain loop over the same videos: `python -m tests.benchmarks.extract VIDEO...`.

The plain loop is what one writes first: decode every frame, find the face with matrix and blendshapes, save arrays. It
normalises nothing, cuts and crops no clips, makes no masks and no scores. Both run in this process and one after the
other, video by video, in processor seconds, so that a busy machine slows both alike; the ratio is what to compare.
`--wall` then runs both in two processes, the data half as `fye refresh` does with Ray and Prefect in it: for an idle
machine.

Without videos, sample clips are made. Nothing is kept.

Measured on three real heads (646 frames, 480x480 to 720x1280) on a busy 2-core x86-64 machine, Python 3.11, PyAV 18.1,
mediapipe 0.10.33; processor milliseconds a normalised frame, and the ratio to the plain loop:

| | ingest | clips | landmarks | ratio |
|---|---|---|---|---|
| before | 4.8 | 7.8 | 12.2 (82 frames/s) | 1.74 |
| masks counted, landmarks out of memory, a scan for points alone, no decoding to count | 4.7 | 7.0 | 10.8 (92) | 1.68 |
| short videos decoded once for cutting | 4.6 | 5.4 | 10.3 (97) | 1.55 |

Masks drawn where the face is, and what never changes worked out once, then took 0.4 ms off a frame's landmarks, to the
same bits. On all nine real videos at hand (3,443 source frames, 2,899 normalised) that is 2.7, 5.2, 10.4 (97 frames/s)
and 1.45; since then two or three frames of a clip are also looked at turned on their head, and 0.1 s more where
a face shows there.

Without MediaPipe's graph around its models (`tasks/faces/face_models.py`), old and new one after the other on the same
busy machine, two real heads and one small face (578 frames):

| | ingest | clips | landmarks | ratio |
|---|---|---|---|---|
| the graph | 2.4 | 4.8 | 11.0 (91) | 1.59 |
| the models alone | 2.4 | 4.3 | 9.1 (110) | 1.39 |

On the three sample clips the ratio went from 1.81 to 1.54. Looks that break ties as the graph does came later: 0.2 ms.

Clips cut from the source itself, with no normalised copy between, old and new one after the other on those 578 frames,
both with the landmark stage as it is by now:

| | ingest | clips | landmarks | ratio |
|---|---|---|---|---|
| a copy encoded, decoded and cut | 2.4 | 3.9 | 7.3 (138) | 1.33 |
| cut from the source | - | 4.2 | 7.3 (138) | 1.13 |

On seven of the nine videos (1,570 frames) 3.3 and 4.6 became 5.2; where a video's frames are not held between the
passes, 16.1 became 10.2, 7.6 became 6.0 and 11.4 became 7.6 (three of them, on a fuller machine). Clips lie nearer to
the source's own pixels: by 1.9, 2.4, 2.9 and 3.4 dB on four of them, at about as many bytes. Boxes of faces move by up
to a pixel or two of the source, for what they are looked for in was not encoded again; the clips of the eight compared
have the same frames and squares.

The landmark stage by itself, before and after it went through the models sixteen frames at a time, clip by clip in turn
on three of them (646 frames; busy machine, both slower for it): 8.7 ms a frame (115 frames/s) became 7.7 (130), with
the same landmarks, masks, thumbnails and scores to the bit. By parts: models that keep their weights in the cache 0.65
less on a quieter machine, 0.2 on this one; masks counted from runs instead of drawn 0.50 to 0.16; lettering 0.16 to
0.08; a whole picture's sampling places kept 0.1. What is left: the models 4.5; beside them 1.4 (sampling 0.9);
decoding and colours 0.9; masks 0.15, tables 0.15, scores 0.2, looks at faces in doubt 0.15, the rest 0.25.

`--wall`, with the graph, on those nine, load average 2 to 8 from other work, twice: the plain loop in two processes 31
and 33 s (45 and 42 five-second clips a minute), `fye refresh` with everything in it 53 and 49 s (26 and 28).
Today, cut from the source, the same nine, idle cores: the plain loop 18.9 s (74 clips a minute), `fye refresh` 21.4 s
(65), of it clips 8.4, landmarks 11.6 (147 frames/s a core) and screening 1.4: 1.13 times as long.

Where the milliseconds of a frame of these 578 went with the copy; parts timed by themselves, `the rest` is what is
left of the total:

| | ours | plain loop (1.16 source frames a frame) |
|---|---|---|
| the source: decoding | 1.0 | 1.0 |
| the normalised copy: encoding 1.0, decoding 0.6, the rest 0.4 | 2.0 | - |
| the clip: encoding 1.0, resizing 0.5, the search for cuts 0.3, the rest 0.9; decoding and colours 1.1 | 3.8 | - |
| faces in every fifth frame | 1.0 | - |
| the models: faces 0.7, points 3.2, expression 0.35 | 4.3 | 5.0 |
| beside the models: sampling 0.5; the loop's graph, matrix, colours, copies and objects | 0.5 | 5.4 |
| the rest of landmarks: masks, tables, scores, thumbnails, looks at three frames upside down | 3.2 | - |
| | 15.8 | 11.4 |

The models are at their floor: OpenVINO runs them no faster (0.55, 3.7 and 0.37 ms), and x264 has nothing left to switch
off (seven of its settings: within 5%; crf 18 in place of 14 takes 0.2 ms off encoding and off decoding, and 2.6 dB).
What was left of the distance to the plain loop were two generations of video, 5.8 ms, which it does not make; now it is
one.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np

from fye_model.config import LandmarkConfig, Runtime
from tasks.clips import ClipWorker, CutSettings
from tasks.engine.items import Given
from tasks.engine.stage import Context
from tasks.faces.landmarker import LandmarkerAsset, resolve_landmarker
from tasks.landmarks import LandmarkFacts, LandmarkWorker
from tasks.media.span import SpanFacts

CLIP_SECONDS, FPS = 5.0, 25.0


def plain_loop(videos: Sequence[Path], model: Path, out: Path) -> int:
    """Decode, detect, save; returns the frames."""
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    frames = 0
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        for video in videos:
            points, matrices, shapes = [], [], []
            with av.open(str(video)) as container:
                for frame in container.decode(video=0):
                    frames += 1
                    picture = frame.to_ndarray(format="rgb24")
                    found = landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=picture))
                    if found.face_landmarks:
                        points.append([(p.x, p.y, p.z) for p in found.face_landmarks[0]])
                        matrices.append(found.facial_transformation_matrixes[0])
                        shapes.append([shape.score for shape in found.face_blendshapes[0]])
            np.savez(out / f"{video.stem}.npz", points=np.array(points), matrices=matrices, shapes=shapes)
    return frames


class Stages:
    """The data half's workers in this process."""

    def __init__(self, asset: LandmarkerAsset) -> None:
        context = Context(Runtime(workers=0), "cpu", asset)
        self.clips = ClipWorker(CutSettings(), context)
        self.landmarks = LandmarkWorker(LandmarkConfig(), context)
        self.seconds: Counter[str] = Counter()
        self.frames = 0
        for worker in (self.clips, self.landmarks):
            worker.__enter__()
            worker.landmarker.detect(np.zeros((64, 64, 3), np.uint8))  # the first one loads what the others find loaded

    def close(self) -> None:
        for worker in (self.clips, self.landmarks):
            worker.__exit__(None, None, None)

    def run(self, video: Path, out: Path) -> None:
        """One video through both stages."""
        (out / "clips").mkdir(parents=True)
        item = Given(video.stem, {"source": video}, SpanFacts(), out / "clips")
        self._timed("clips", lambda: self.clips.process(item))
        for clip in sorted(path.parent for path in (out / "clips").glob("*/clip.mp4")):
            marks = out / "landmarks" / clip.name
            marks.mkdir(parents=True)
            files = {"video": clip / "clip.mp4", "frames": clip / "frames.parquet"}
            given = Given(clip.name, files, LandmarkFacts(factor=8), marks)
            self.frames += self._timed("landmarks", lambda given=given: self.landmarks.process(given)).frames

    def _timed(self, stage: str, work: Callable[[], object]) -> object:
        begun = time.process_time()
        result = work()
        self.seconds[stage] += time.process_time() - begun
        return result


def processor_seconds(videos: Sequence[Path], asset: LandmarkerAsset, folder: Path) -> dict[str, float]:
    """Both in this process, video by video; frames are those at the constant rate."""
    stages, plain_s, plain_frames = Stages(asset), 0.0, 0
    try:
        plain_loop([], asset.path, folder)
        for number, video in enumerate(videos):
            begun = time.process_time()
            plain_frames += plain_loop([video], asset.path, folder)
            plain_s += time.process_time() - begun
            stages.run(video, folder / str(number))
    finally:
        stages.close()
    ours_s = stages.seconds.total()
    return {
        **{f"{stage}_ms": 1e3 * seconds / stages.frames for stage, seconds in stages.seconds.items()},
        "ours_s": ours_s,
        "plain_s": plain_s,
        "ratio": ours_s / plain_s,
        "landmark_frames_per_s": stages.frames / stages.seconds["landmarks"],
        "source_frames": plain_frames,
        "frames": stages.frames,
    }


def wall_seconds(videos: Sequence[Path], asset: LandmarkerAsset, folder: Path) -> dict[str, float]:
    """Both in two processes: the plain loop with the longest videos dealt first, and the whole command."""
    order = sorted(videos, key=lambda video: -video.stat().st_size)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=plain_loop, args=(order[half::2], asset.path, folder)) for half in (0, 1)]
    begun = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    plain_s = time.perf_counter() - begun
    source = folder / "source"
    source.mkdir()
    for video in videos:
        (source / video.name).write_bytes(video.read_bytes())
    command = [sys.executable, "-m", "flows.cli", "refresh", "--videos", str(source), "--work", str(folder / "work")]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "FYE_ASSETS": str(asset.path.parent)})
    summary = json.loads((folder / "work" / "summary.json").read_text())
    frames = summary["data"]["funnel"][0]["frames"]
    clips = frames / FPS / CLIP_SECONDS
    result = {f"{stage['stage']}_s": stage["seconds"] for stage in summary["stages"]}
    minutes = {"plain_clips_per_minute": 60 * clips / plain_s, "clips_per_minute": 60 * clips / summary["seconds"]}
    return {**result, "plain_s": plain_s, "ours_s": summary["seconds"], **minutes}


def sample_videos(folder: Path) -> list[Path]:
    """Three sample clips, for whoever has no videos at hand."""
    from tasks.samples.clips import make_samples

    return list(make_samples(folder, 3, 4.0, 480))


def main() -> None:
    """Print what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="*")
    parser.add_argument("--wall", action="store_true", help="also both in two processes")
    given = parser.parse_args()
    asset = resolve_landmarker()
    if not asset.has_matrix:
        raise SystemExit(
            "the plain loop needs face_landmarker.task, which gives matrix and blendshapes: set FYE_ASSETS"
        )
    with tempfile.TemporaryDirectory() as folder:
        videos = given.videos or sample_videos(Path(folder) / "samples")
        (Path(folder) / "processor").mkdir()
        found = {"processor": processor_seconds(videos, asset, Path(folder) / "processor")}
        if given.wall:
            (Path(folder) / "wall").mkdir()
            found["wall"] = wall_seconds(videos, asset, Path(folder) / "wall")
    print(json.dumps({part: {k: round(v, 3) for k, v in values.items()} for part, values in found.items()}, indent=1))


if __name__ == "__main__":
    main()
