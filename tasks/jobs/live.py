"""A portrait performs what a camera, a stream or a played file shows, as it comes, in a video that can be watched.

A window of frames is drawn together, so a picture is late by the window and the time to draw it; how late is measured
and told. Where the machine does not keep up, pictures are left out and the run goes on. The parts are in
`tasks/animation/live.py` (reading and faces), `fye_model/animation/live.py` (motion and drawing) and `tasks/media/`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from fye_model.animation.compatibility import check_folder
from fye_model.animation.description import ModelDescription, need_description
from fye_model.animation.transfer import Transfer
from fye_model.config import Config, SamplingConfig
from fye_model.devices import choose_device
from fye_model.landmarks.drawing import ALIGNED
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.table import LandmarkSequence
from tasks.animation.latency import KeepingUp, Latencies
from tasks.animation.live import Followed, Follower, LiveFaces, as_sequence
from tasks.animation.request import WhichFace
from tasks.animation.sampling import load_for_animation
from tasks.faces.detector import FaceLandmarker
from tasks.faces.follow import load_geometry
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.subject import Actor, Portrait, read_portrait
from tasks.media.growing import READER_GONE, GrowingVideo, check_growing
from tasks.media.live import Clock, LiveSource, RealClock, check_source, open_source
from tasks.media.pictures import open_picture

if TYPE_CHECKING:  # the networks are slow to import
    from fye_model.animation.live import LiveMotion, LiveWindows

Log = Callable[[str], None]
_MOST_FACES = 8
_NEUTRAL_S = 1.0
_LEAST_NEUTRAL = 3  # frames with a face in that time
_LATE_EVERY_S = 5.0
_END_S = 2.0  # that a source is given to end: a silent stream takes longer


class LiveRequest(WhichFace):
    """What is wanted. source: a camera (/dev/video0), an address (rtsp://…), or a file that is played at its own speed.
    output: NAME.ts, NAME.mkv, an address, or - for a pipe. window: frames that are drawn together, one of them the last
    of those before. sampling: as the model was evaluated where None; its window is `window`. frames_fps: of a folder of
    frames. The rest is as in `AnimateSettings`."""

    portrait: Path
    source: str
    model: Path
    output: str
    window: Annotated[int, Field(ge=3, le=32)] = 8
    sampling: SamplingConfig | None = None
    transfer: Transfer = Transfer()
    frames_fps: Annotated[float, Field(gt=0, le=240)] = 25.0
    device: str = "auto"

    def sampling_with(self, model: ModelDescription) -> SamplingConfig:
        """The sampling that was asked for, or else the model's, with the window that was asked for."""
        update = {"window": self.window, "overlap": 0, "strategy": "progressive"}
        return (self.sampling or model.sampling).model_copy(update=update)


class LiveResult(Config):
    """What was written. frames: in `seconds` of the source; latency_median_s, latency_95_s: from a picture's arrival
    until its result was written, None where nothing was; left_out: pictures that were not drawn because it was late;
    held: frames without a usable face, which hold the pose before them; ended: why, where it was not asked for."""

    output: str
    frames: int
    seconds: float
    fps: float
    latency_median_s: float | None
    latency_95_s: float | None
    left_out: int
    held: int
    ended: str | None = None

    def line(self) -> str:
        """All of it, for a user."""
        late = ""
        if self.latency_median_s is not None:
            late = f", late by {self.latency_median_s:.2f} s (median; 95% within {self.latency_95_s:.2f} s)"
        frames = f"{self.frames} frames in {self.seconds:.1f} s, {self.fps:.1f} frames/s"
        return f"{frames}{late}; {self.left_out} left out, {self.held} without a face"


def check_live_request(request: LiveRequest) -> None:
    """Look at what was asked for before anything slow: ValueError for files that are missing or of another kind."""
    from fye_model.animation.live import check_live

    check_folder(request.model)
    model = need_description(request.model)
    with open_picture(request.portrait):
        pass
    check_live(request.transfer)
    check_source(request.source, request.frames_fps)
    check_growing(request.output)
    if model.landmark_variant not in ALIGNED:
        raise ValueError(
            f"{request.model} draws {model.landmark_variant} landmarks, which know no other face: not live"
        )


@dataclass(frozen=True)
class _Stage:
    """What frames are drawn with. reference: the portrait's face, one frame of the model's size."""

    reference: LandmarkSequence
    model: ModelDescription
    geometry: FaceGeometry
    sampling: SamplingConfig
    windows: LiveWindows


def live(
    request: LiveRequest,
    asset: LandmarkerAsset,
    stop: threading.Event,
    log: Log = print,
    pipe: IO[bytes] | None = None,
    clock: Clock | None = None,
) -> LiveResult:
    """Animate until the source ends, `stop` is set, or nobody reads the output any more; the video is then playable.

    pipe: what `-` is written to. Raises ValueError for what `check_live_request` refuses, a portrait without a face, a
    source that cannot be opened or never shows a face, OSError for an output that fails.
    """
    check_live_request(request)
    clock = clock or RealClock()
    geometry = load_geometry(asset)
    with FaceLandmarker(asset.path, asset.model, max_faces=_MOST_FACES) as landmarker:
        stage = _prepared(request, landmarker, geometry, log, clock)
        smoothed = stage.sampling.smoothing != "none"
        follower = Follower(landmarker, stage.model.max_gap_frames, request.driver_face, smoothed)
        source = open_source(request.source, clock, request.frames_fps)
        log(f"source: {source.words}")
        faces = LiveFaces(source, follower, stage.windows.new, clock, stop)
        faces.start()
        try:
            return _Run(request, stage, source, faces, stop, log, clock).to_the_end(pipe)
        finally:
            stop.set()
            if faces.join(_END_S):  # or else it waits for a silent stream, which it gives up by itself
                source.close()


def _prepared(
    request: LiveRequest, landmarker: FaceLandmarker, geometry: FaceGeometry, log: Log, clock: Clock
) -> _Stage:
    """The portrait's face and the model, which has drawn before: what it records and compiles is done."""
    from fye_model.animation.live import LiveWindows

    model = need_description(request.model)
    for line in model.cautions(landmarker.model):
        log(line)
    sampling = request.sampling_with(model)
    where = (request.face, request.points, request.box)
    subject = read_portrait(request.portrait, landmarker, model, geometry, *where)
    for note in subject.notes:
        log(note)
    actor, reference = _only(request, subject)
    device = choose_device(request.device)
    log(f"device: {device}")
    pipeline = load_for_animation(request.model, device, log)
    own = reference.pixels()[0]
    windows = LiveWindows(pipeline, actor.cut.picture(subject.picture, model.size), own, model, sampling)
    for _ in range(2):
        began = clock.now()
        windows.draw(np.repeat(own[None], windows.new, axis=0))
        took = clock.now() - began
    log(
        f"a window of {sampling.window} frames, {windows.new} of them new, takes {took:.3f} s in {sampling.steps} "
        f"steps: {windows.new / max(took, 1e-9):.1f} frames/s"
    )
    return _Stage(reference, model, geometry, sampling, windows)


def _only(request: LiveRequest, subject: Portrait) -> tuple[Actor, LandmarkSequence]:
    if len(subject.actors) > 1:
        raise ValueError(f"{request.portrait}: {len(subject.actors)} faces; one performs live: give --face with one")
    (actor,) = subject.actors
    if actor.reference is None:
        raise ValueError(
            f"{request.portrait}: no face found; say where it is with --points or --box: live motion is laid onto it"
        )
    return actor, actor.reference


class _Run:
    """From the first picture to the last."""

    def __init__(
        self,
        request: LiveRequest,
        stage: _Stage,
        source: LiveSource,
        faces: LiveFaces,
        stop: threading.Event,
        log: Log,
        clock: Clock,
    ) -> None:
        self._request, self._stage, self._source, self._faces = request, stage, source, faces
        self._stop, self._log, self._clock = stop, log, clock
        self._latencies = Latencies()
        self._keeping = KeepingUp(source.fps, stage.sampling.steps, stage.sampling.window)
        self._held = self._told_dropped = 0
        self._late_s = 0.0
        self._told_s = -_LATE_EVERY_S
        self._first_s: float | None = None
        self._last_s = 0.0

    def to_the_end(self, pipe: IO[bytes] | None) -> LiveResult:
        motion, dropped = self._motion()
        ended: str | None = None
        size = self._stage.model.size
        video = GrowingVideo(self._request.output, size, size, self._source.fps, pipe)
        try:
            with video:
                while batch := self._faces.waiting.take(self._stage.windows.new, self._stop):
                    self._window(batch, motion, video)
                    self._say_late(dropped)
        except READER_GONE:
            ended = "nobody reads the output any more"
        ended = ended or self._source.ended
        seconds = 0.0 if self._first_s is None else self._last_s - self._first_s + 1 / self._source.fps
        return LiveResult(
            output=self._request.output,
            frames=video.frames,
            seconds=seconds,
            fps=video.frames / seconds if seconds else 0.0,
            latency_median_s=self._latencies.quantile(0.5),
            latency_95_s=self._latencies.quantile(0.95),
            left_out=self._faces.dropped - dropped,
            held=self._held,
            ended=ended,
        )

    def _motion(self) -> tuple[LiveMotion, int]:
        """Wait for a second with a face, from which the neutral face is taken, and how many pictures were left out."""
        from fye_model.animation.live import LiveMotion

        self._log("look straight into the camera, mouth closed: the first second with a face is taken as neutral")
        known: list[Followed] = []
        while not (known and known[-1].time_s - known[0].time_s >= _NEUTRAL_S and len(known) >= _LEAST_NEUTRAL):
            batch = self._faces.waiting.take(1, self._stop)
            if not batch:
                how = "it was stopped" if self._stop.is_set() else self._source.ended or "it ended"
                raise ValueError(
                    f"{self._source.words}: {how} before a face was seen for {_NEUTRAL_S:g} s, from which its motion "
                    "could be measured"
                )
            known += [one for one in batch if one.face is not None]
        stage = self._stage
        sequence = as_sequence(known, self._source.fps, stage.reference.model, stage.geometry)
        motion = LiveMotion(sequence, stage.reference, stage.geometry, stage.model, self._request.transfer)
        self._log("neutral face taken: from here on it performs")
        return motion, self._faces.dropped

    def _window(self, batch: list[Followed], motion: LiveMotion, video: GrowingVideo) -> None:
        """Draw and write the next frames."""
        began = self._clock.now()
        stage = self._stage
        driver = as_sequence(batch, self._source.fps, stage.reference.model, stage.geometry)
        points, held = motion.next(driver)
        frames = stage.windows.draw(points)
        if self._first_s is None:
            self._first_s = batch[0].time_s
        for one, frame in zip(batch, frames, strict=True):
            video.write(frame, one.time_s - self._first_s)
            self._latencies.add(self._clock.now() - one.came_s)
        self._last_s = batch[-1].time_s
        self._held += int(held.sum())
        line = self._keeping.add(len(batch), self._clock.now() - began)
        if line is not None:
            self._log(line)
        self._late_s = self._clock.now() - batch[0].came_s

    def _say_late(self, dropped: int) -> None:
        """Now and then, where more was left out since the last time."""
        left_out, now = self._faces.dropped - dropped, self._clock.now()
        if left_out > self._told_dropped and now - self._told_s >= _LATE_EVERY_S:
            self._log(f"late by {self._late_s:.2f} s, {left_out} frames left out")
            self._told_dropped, self._told_s = left_out, now
