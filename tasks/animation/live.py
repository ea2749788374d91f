"""What happens between a live source and the drawing: pictures read, faces followed, and what is late left out.

Two threads, each with a queue behind it that keeps the newest alone: one reads, so that a camera is never kept waiting,
one finds faces. Whoever draws takes a window's frames at a time, and finds the newest ones there.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.smoothing import CausalOneEuro
from fye_model.landmarks.table import LandmarkSequence
from tasks.faces.choice import FirstOfDriver
from tasks.faces.detected import DetectedFace
from tasks.faces.detector import FaceLandmarker
from tasks.faces.follow import FaceTracker, build_sequence
from tasks.media.live import Clock, LiveSource

T = TypeVar("T")
_LOOK_S = 0.1  # how often somebody who waits looks whether to stop


class Newest(Generic[T]):
    """A queue between threads that keeps the newest `most` items; `dropped` counts those that made room for them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.dropped = 0
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T) -> None:
        """Add an item; the oldest goes where there are too many."""
        with self._changed:
            self._items.append(item)
            while len(self._items) > self.most:
                self._items.popleft()
                self.dropped += 1
            self._changed.notify_all()

    def close(self, error: BaseException | None = None) -> None:
        """Nothing more comes; `error` is what ended it, which the taker gets once the queue is empty."""
        with self._changed:
            self._closed, self._error = True, error
            self._changed.notify_all()

    def take(self, count: int, stop: threading.Event) -> list[T]:
        """The next `count` items as soon as there are so many; fewer, or none, once it is closed; none when stopped."""
        with self._changed:
            while len(self._items) < count and not self._closed:
                self._changed.wait(_LOOK_S)
                if stop.is_set():
                    return []
            taken = [self._items.popleft() for _ in range(min(count, len(self._items)))]
            if not taken and self._error is not None:
                raise self._error
            return taken


@dataclass(frozen=True)
class Seen:
    """A picture of the source. time_s: on the source's clock; came_s: when it was there, on ours."""

    time_s: float
    came_s: float
    rgb: np.ndarray


@dataclass(frozen=True)
class Followed:
    """The followed face in a picture of width x height, or None; times as in `Seen`."""

    time_s: float
    came_s: float
    face: DetectedFace | None
    width: int
    height: int


class Follower:
    """Finds the driver's face picture by picture and smooths it, knowing nothing of what comes next.

    face: which of several (see `choose_faces`). Raises ValueError for pictures that change their size.
    """

    def __init__(self, landmarker: FaceLandmarker, max_gap_frames: int, face: str, smoothed: bool) -> None:
        self._tracker = FaceTracker(landmarker, max_gap_frames, FirstOfDriver(face, landmarker))
        self._smooth = CausalOneEuro() if smoothed else None
        self._size: tuple[int, int] | None = None

    def next(self, seen: Seen) -> Followed:
        """What the next picture shows."""
        height, width = seen.rgb.shape[:2]
        self._size = self._size or (width, height)
        if self._size != (width, height):
            was = f"{self._size[0]}x{self._size[1]}"
            raise ValueError(f"the source's pictures changed from {was} to {width}x{height}: begin anew")
        face = self._tracker.next(seen.rgb)
        self._tracker.found.clear()  # a live run has no end
        if self._smooth is not None:
            if face is None:
                self._smooth.forget()
            else:
                aspect = np.array([width / height, 1, width / height])
                points = self._smooth(face.points * aspect, seen.time_s) / aspect
                face = DetectedFace(points.astype(np.float32), face.blendshapes)
        return Followed(seen.time_s, seen.came_s, face, width, height)


class LiveFaces:
    """Reads a source and follows its face, in two threads, from `start` on. `waiting`: what was followed and not taken.

    Pictures are left out where following them, or drawing what was followed, does not keep up.
    """

    def __init__(
        self, source: LiveSource, follower: Follower, window: int, clock: Clock, stop: threading.Event
    ) -> None:
        self._source, self._follower, self._clock, self._stop = source, follower, clock, stop
        self._read: Newest[Seen] = Newest(window)
        self.waiting: Newest[Followed] = Newest(window)
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._reads, self._follows)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self, seconds: float) -> bool:
        """Wait until both have ended, at most so long; whether they have."""
        for thread in self._threads:
            thread.join(seconds)
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def dropped(self) -> int:
        """How many pictures were left out so far."""
        return self._read.dropped + self.waiting.dropped

    def _reads(self) -> None:
        try:
            for time_s, rgb in self._source.pictures():
                if self._stop.is_set():
                    break
                self._read.put(Seen(time_s, self._clock.now(), rgb))
        except BaseException as error:
            self._read.close(error)
        else:
            self._read.close()

    def _follows(self) -> None:
        try:
            for seen in self._taken():
                self.waiting.put(self._follower.next(seen))
        except BaseException as error:
            self.waiting.close(error)
        else:
            self.waiting.close()

    def _taken(self) -> Iterator[Seen]:
        while seen := self._read.take(1, self._stop):
            yield from seen


def as_sequence(followed: Sequence[Followed], fps: float, model: str, geometry: FaceGeometry) -> LandmarkSequence:
    """Followed faces as landmarks: where there is none the frame is not valid, and nothing is filled in."""
    faces = [one.face for one in followed]
    times = np.array([one.time_s for one in followed])
    return build_sequence(faces, times, fps, followed[0].width, followed[0].height, model, geometry, 0)
