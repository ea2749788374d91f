"""Video that can be watched while it is written, by whatever end it is read."""

from __future__ import annotations

import io
import os
import socket
import threading
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.media.growing import GrowingVideo, check_growing
from tests.tasks.videos import number_of, numbered


def read(content: bytes) -> tuple[list[int], np.ndarray]:
    """Which of `numbered` are in a video, and when each is shown after the first."""
    with av.open(io.BytesIO(content)) as container:
        frames = list(container.decode(video=0))
    times = np.array([frame.time for frame in frames])
    return [number_of(frame.to_ndarray(format="rgb24")) for frame in frames], times - times[0]


@pytest.mark.parametrize(("ending", "behind"), [(".ts", 0), (".mkv", 1)])
def test_what_was_written_can_be_played_before_it_is_finished(tmp_path: Path, ending: str, behind: int) -> None:
    path = tmp_path / f"v{ending}"
    times = np.array([number / 25 + (number >= 20) for number in range(30)])
    with GrowingVideo(str(path), 64, 48, 25.0) as video:
        for written, (image, time_s) in enumerate(zip(numbered(30), times, strict=True), start=1):
            video.write(image, float(time_s))
            if written in (10, 30):  # as a kill leaves it, and a player finds it
                assert read(path.read_bytes())[0] == list(range(written - behind))
    numbers, shown = read(path.read_bytes())
    assert numbers == list(range(30)) and video.frames == 30
    np.testing.assert_allclose(shown, times, atol=0.002)


def test_what_ends_a_run_leaves_a_finished_video(tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    with pytest.raises(KeyboardInterrupt), GrowingVideo(str(path), 64, 48, 25.0) as video:
        for number, image in enumerate(numbered(7)):
            video.write(image, number / 25)
        raise KeyboardInterrupt
    assert read(path.read_bytes())[0] == list(range(7))


def test_a_pipe_takes_frames_at_once_and_a_reader_that_goes_is_told_of() -> None:
    reading, writing = os.pipe()
    got = []
    thread = threading.Thread(target=lambda: got.append(os.read(reading, 1 << 20)))
    thread.start()
    pipe = os.fdopen(writing, "wb", buffering=0)
    with pipe, pytest.raises(BrokenPipeError), GrowingVideo("-", 64, 48, 25.0, pipe) as video:
        for number, image in enumerate(numbered(500)):
            video.write(image, number / 25)
            if number == 3:
                thread.join()
                os.close(reading)
    assert got[0].startswith(b"G") and video.frames < 10


def test_an_output_that_fails_is_named_without_its_password() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # nobody listens there
        address = f"tcp://anna:secret@127.0.0.1:{free.getsockname()[1]}"
        with (
            pytest.raises(OSError, match=r"^output tcp://127\.0\.0\.1:\d+: cannot be written \(Connection refused"),
            GrowingVideo(address, 64, 48, 25.0) as video,
        ):
            video.write(numbered(1)[0], 0.0)
    with (
        open("/dev/full", "wb", buffering=0) as full,
        pytest.raises(OSError, match=r"^output -: cannot be written \(No space left"),
        GrowingVideo("-", 64, 48, 25.0, full) as video,
    ):
        video.write(numbered(1)[0], 0.0)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("out.mp4", r"expected NAME\.ts or NAME\.mkv"),
        ("absent/out.ts", "there is no folder absent"),
        ("there.ts", "is there already"),
        ("file:///tmp/out.ts", "expected one of rtsp://"),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.ts").write_bytes(b"kept")
    with pytest.raises(ValueError, match=words):
        check_growing(output)
    assert Path("there.ts").read_bytes() == b"kept"
