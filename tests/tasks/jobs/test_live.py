"""A portrait performs a played file live, with a tiny model: what is drawn, left out, held and written."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from fye_model.animation.live import LiveWindows
from fye_model.config import SamplingConfig
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.live import LiveRequest, LiveResult, check_live_request, live
from tasks.media.read import read_frames
from tests.tasks.performing import SIZE
from tests.tasks.videos import encode, numbered

FRAMES, FPS = 38, 5.0  # a tiny model draws more of them a second, also on a busy machine
WITHOUT_FACE = range(24, 27)


@pytest.fixture(scope="session")
def pictures(sample_clips: list[Path]) -> np.ndarray:
    """A face that speaks; a few show none."""
    frames = read_frames(sample_clips[0], slice(0, FRAMES))
    frames = np.stack([np.asarray(Image.fromarray(frame).resize((192, 192))) for frame in frames])
    frames[WITHOUT_FACE] = 127
    return frames


@pytest.fixture(scope="session")
def source(pictures: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """7.6 s at five frames a second."""
    times = [round(1000 / FPS * number) for number in range(FRAMES)]
    return encode(tmp_path_factory.mktemp("live") / "camera.mp4", pictures, times_ms=times)


@pytest.fixture
def run(model: Path, portrait: Path, landmarker_asset: LandmarkerAsset, tmp_path: Path) -> Any:
    def perform(
        source: Path | str, log: Callable[[str], None] | None = None, **changes: Any
    ) -> tuple[LiveResult, list[str], list[float]]:
        lines: list[str] = []
        stop = changes.pop("stop", threading.Event())
        settings = {"output": str(tmp_path / "out.ts"), "window": 4, "sampling": SamplingConfig(steps=1), **changes}
        request = LiveRequest(portrait=portrait, source=str(source), model=model, device="cpu", **settings)
        made = live(request, landmarker_asset, stop, log or lines.append)
        with av.open(request.output) as container:
            frames = list(container.decode(video=0))
        assert len(frames) == made.frames and {(frame.width, frame.height) for frame in frames} == {(SIZE, SIZE)}
        return made, lines, [frame.time - frames[0].time for frame in frames]

    return perform


def test_a_played_file_is_performed_to_its_end_in_its_own_time(run: Any, source: Path) -> None:
    made, lines, times = run(source)
    neutral = 6  # frames in a second at five a second, the last one included
    assert made.frames + made.left_out == FRAMES - neutral and made.left_out <= 3, lines
    assert made.held >= len(WITHOUT_FACE) - made.left_out
    np.testing.assert_allclose(np.mod(np.array(times) * FPS + 0.5, 1), 0.5, atol=0.01)
    assert times == sorted(times) and made.seconds == pytest.approx((FRAMES - neutral) / FPS, abs=0.7)
    window_s = 2 / FPS  # the first of three new frames waits for two more
    assert 0 < made.latency_median_s <= made.latency_95_s and made.latency_95_s > window_s
    said = "\n".join(lines)
    assert "look straight into the camera" in said and "5 frames/s" in said and "a window of 4 frames" in said
    assert f"{made.frames} frames in" in made.line() and "median" in made.line()


def test_a_machine_that_is_too_slow_leaves_frames_out_and_says_so(
    run: Any, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = LiveWindows.draw

    def slowly(windows: LiveWindows, points: np.ndarray) -> np.ndarray:
        time.sleep(0.8)  # where three new frames take 0.6 s to come
        return draw(windows, points)

    monkeypatch.setattr(LiveWindows, "draw", slowly)
    made, lines, times = run(source)
    assert made.left_out > 3 and made.frames + made.left_out == FRAMES - 6
    assert times[-1] - times[0] == pytest.approx((made.frames + made.left_out - 1) / FPS, abs=1.0), "in its own time"
    said = "\n".join(lines)
    assert "does not keep up" in said and "left out" in said and "late by" in said


def test_told_to_stop_it_ends_with_a_playable_video(run: Any, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, draw, drawn = threading.Event(), LiveWindows.draw, []

    def until_the_fifth(windows: LiveWindows, points: np.ndarray) -> np.ndarray:
        drawn.append(len(points))
        if len(drawn) == 5:  # two of them before the source was opened
            stop.set()
        return draw(windows, points)

    monkeypatch.setattr(LiveWindows, "draw", until_the_fifth)
    made, _, _ = run(source, stop=stop)
    assert made.frames == 9 and len(drawn) == 5


def test_a_source_without_a_face_ends_with_what_was_wanted(run: Any, tmp_path: Path) -> None:
    empty = encode(tmp_path / "wall.mp4", numbered(12))
    with pytest.raises(ValueError, match=r"wall\.mp4.*ended before a face was seen"):
        run(empty)
    assert not (tmp_path / "out.ts").exists()


def test_stopped_before_a_face_was_seen_it_says_so(run: Any, source: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(ValueError, match=r"camera\.mp4.*it was stopped before a face was seen"):
        run(source, stop=stop)


def test_a_reader_that_goes_ends_the_run(
    model: Path, portrait: Path, source: Path, landmarker_asset: LandmarkerAsset
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def read() -> None:
            connection, _ = server.accept()
            connection.recv(1)
            connection.close()

        thread = threading.Thread(target=read)
        thread.start()
        where = {"source": str(source), "output": f"tcp://127.0.0.1:{server.getsockname()[1]}", "window": 4}
        request = LiveRequest(portrait=portrait, model=model, device="cpu", sampling=SamplingConfig(steps=1), **where)
        made = live(request, landmarker_asset, threading.Event(), lambda line: None)
        thread.join()
    assert made.ended == "nobody reads the output any more" and made.frames < FRAMES - 6


def test_requests_that_cannot_be_done_are_refused(model: Path, portrait: Path, source: Path, tmp_path: Path) -> None:
    good = {"portrait": portrait, "source": str(source), "model": model, "output": "-"}
    check_live_request(LiveRequest(**good))
    for change, words in (
        ({"source": "file:///etc/passwd"}, "expected one of"),
        ({"source": "/dev/zero"}, "a device"),
        ({"output": str(tmp_path / "out.mp4")}, r"NAME\.ts"),
        ({"portrait": source}, "picture"),
        ({"model": tmp_path}, "model"),
        ({"transfer": {"neutral": "40"}}, "first second"),
    ):
        with pytest.raises(ValueError, match=words):
            check_live_request(LiveRequest(**{**good, **change}))


def test_the_command_writes_video_alone_to_its_pipe_and_ctrl_c_ends_it_well(
    model: Path, portrait: Path, source: Path, landmarker_asset: LandmarkerAsset
) -> None:
    words = ["live", str(portrait), str(source), "--model", str(model), "--output", "-", "--box", "150,40,300,200"]
    command = [sys.executable, "-m", "flows.cli", *words, "--set", "steps=1", "--window", "4", "--device", "cpu"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    content = os.read(running.stdout.fileno(), 1 << 16)  # the first frames are there while it goes on
    assert content.startswith(b"G") and running.poll() is None
    running.send_signal(signal.SIGINT)
    rest, said = running.communicate(timeout=60)
    assert running.returncode == 0, said.decode()
    with av.open(io.BytesIO(content + rest)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert f"\n{frames} frames in " in said.decode() and "look straight" in said.decode()
