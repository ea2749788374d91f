"""Between source and drawing: the newest is kept, what is left out is counted, and order and errors are."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from tasks.animation.latency import KeepingUp, Latencies
from tasks.animation.live import Follower, LiveFaces, Newest, Seen, as_sequence
from tasks.faces.detector import FaceLandmarker
from tasks.faces.follow import load_geometry
from tasks.faces.landmarker import LandmarkerAsset
from tasks.media.read import read_frames
from tests.tasks.media.test_live import StepClock

GO_ON = threading.Event()


def test_a_queue_keeps_the_newest_in_order_and_counts_the_rest() -> None:
    queue: Newest[int] = Newest(3)
    for number in range(5):
        queue.put(number)
    assert queue.dropped == 2
    assert queue.take(2, GO_ON) == [2, 3]
    queue.put(5)
    queue.close()
    assert queue.take(3, GO_ON) == [4, 5], "what was left when it ended"
    assert queue.take(3, GO_ON) == []


def test_whoever_takes_waits_for_all_and_gets_an_error_behind_the_last_item() -> None:
    queue: Newest[int] = Newest(4)
    queue.put(0)

    def later() -> None:
        queue.put(1)
        queue.put(2)
        queue.close(ValueError("unplugged"))

    thread = threading.Timer(0.05, later)
    thread.start()
    assert queue.take(2, GO_ON) == [0, 1]
    thread.join()
    assert queue.take(2, GO_ON) == [2]
    with pytest.raises(ValueError, match="unplugged"):
        queue.take(1, GO_ON)
    stop = threading.Event()
    stop.set()
    assert Newest[int](1).take(1, stop) == []


class Camera:
    """Gives pictures without waiting, as often as it is let."""

    fps, words, ended = 25.0, "a camera", None

    def __init__(self, pictures: list[np.ndarray], taken: threading.Semaphore) -> None:
        self._pictures, self._taken = pictures, taken

    def pictures(self) -> Iterator[tuple[float, np.ndarray]]:
        for number, rgb in enumerate(self._pictures):
            self._taken.acquire()
            yield number / self.fps, rgb

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def frames(sample_clips: list) -> list[np.ndarray]:
    """12 pictures of a face; 5 and 6 show none."""
    found = list(read_frames(sample_clips[0], slice(0, 12)))
    found[5] = found[6] = np.full_like(found[0], 127)
    return found


def test_faces_come_in_order_and_the_oldest_are_left_out_when_nobody_takes_them(
    frames: list[np.ndarray], landmarker_asset: LandmarkerAsset
) -> None:
    stop, taken, geometry = threading.Event(), threading.Semaphore(0), load_geometry(landmarker_asset)
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model) as landmarker:
        faces = LiveFaces(Camera(frames, taken), Follower(landmarker, 5, "largest", True), 4, StepClock(), stop)
        faces.start()
        seen = []
        for _ in range(8):  # with somebody who takes each one, none is left out
            taken.release()
            seen += faces.waiting.take(1, stop)
        assert faces.dropped == 0
        taken.release(4)
        assert faces.join(10.0)
        rest = faces.waiting.take(9, stop)
    assert [round(one.time_s * 25) for one in seen] == list(range(8))
    assert [one.face is None for one in seen] == [number in (5, 6) for number in range(8)]
    assert len(rest) + faces.dropped == 4 and [round(one.time_s * 25) for one in rest][-1] == 11
    sequence = as_sequence(seen, 25.0, landmarker_asset.model, geometry)
    assert np.flatnonzero(~sequence.valid).tolist() == [5, 6] and not sequence.interpolated.any()


def test_pictures_that_nobody_takes_are_left_out(frames: list[np.ndarray], landmarker_asset: LandmarkerAsset) -> None:
    stop, taken = threading.Event(), threading.Semaphore(len(frames))
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model) as landmarker:
        faces = LiveFaces(Camera(frames, taken), Follower(landmarker, 5, "largest", False), 4, StepClock(), stop)
        faces.start()
        assert faces.join(20.0)
        rest = faces.waiting.take(9, stop)
    assert [round(one.time_s * 25) for one in rest] == [8, 9, 10, 11], "the newest"
    assert faces.dropped == 8


def test_pictures_of_another_size_end_it_with_a_word(landmarker_asset: LandmarkerAsset) -> None:
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model) as landmarker:
        follower = Follower(landmarker, 5, "largest", True)
        assert follower.next(Seen(0.0, 0.0, np.zeros((64, 64, 3), np.uint8))).face is None
        with pytest.raises(ValueError, match="changed from 64x64 to 80x64"):
            follower.next(Seen(0.1, 0.1, np.zeros((64, 80, 3), np.uint8)))


def test_latencies_are_counted_to_five_milliseconds() -> None:
    late = Latencies()
    assert late.quantile(0.5) is None
    for number in range(100):
        late.add(0.2 + number / 1000)
    assert late.quantile(0.5) == pytest.approx(0.25, abs=0.006)
    assert late.quantile(0.95) == pytest.approx(0.295, abs=0.006)
    late.add(1e9)
    assert late.quantile(1.0) == pytest.approx(60.0)


def test_a_machine_that_does_not_keep_up_is_told_once_with_numbers() -> None:
    def said(seconds: float) -> list[str]:
        keeping = KeepingUp(25.0, 10, 8)
        lines = [keeping.add(7, seconds) for _ in range(20)]
        return [line for line in lines if line is not None]

    assert said(0.2) == []
    (line,) = said(0.5)
    assert "14.0 frames/s are drawn, 25 come" in line and "--set steps=5, now 10" in line
    assert "a faster GPU" in said(30.0)[0], "no number of steps would do"
