"""Live sources: files at their own speed, streams at an address; what is neither is refused, nothing else opened."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tasks.media.growing import GrowingVideo
from tasks.media.live import PlayedFile, Stream, check_source, open_source, shown_address
from tests.tasks.videos import encode, number_of, numbered


class StepClock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def now(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds


def test_a_file_is_played_at_its_own_speed(tmp_path: Path) -> None:
    clock = StepClock()
    source = open_source(str(encode(tmp_path / "v.mp4", numbered(12))), clock)
    assert isinstance(source, PlayedFile) and source.fps == pytest.approx(25) and "v.mp4" in source.words
    came = []
    for number, (time_s, rgb) in enumerate(source.pictures()):
        came.append(clock.now() - 100.0)
        assert time_s == pytest.approx(number / 25) and number_of(rgb) == number
        clock.at_s += 0.01  # what is done with it takes time, which is no delay of the next one
    source.close()
    np.testing.assert_allclose(came, np.arange(12) / 25, atol=1e-9)


@contextmanager
def served(files: dict[str, bytes]) -> Iterator[str]:
    """These files at an address of this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = files.get(self.path.lstrip("/"))
            self.send_response(200 if content else 404)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *arguments: object) -> None:
            pass

    asked: list[str] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def transport(tmp_path: Path) -> bytes:
    """20 frames as MPEG-TS, of which two are missing."""
    with GrowingVideo(str(tmp_path / "v.ts"), 64, 48, 25.0) as video:
        for number, image in enumerate(numbered(20)):
            if number not in (8, 9):
                video.write(image, number / 25)
    return (tmp_path / "v.ts").read_bytes()


def test_a_stream_is_read_by_its_own_clock(transport: bytes) -> None:
    with served({"live": transport}) as address:
        source = open_source(f"{address}/live", StepClock())
        found = list(source.pictures())
        source.close()
    assert "64x48" in source.words
    assert [number_of(rgb) for _, rgb in found] == [number for number in range(20) if number not in (8, 9)]
    times = np.array([time_s for time_s, _ in found])
    np.testing.assert_allclose(times * 25, [number for number in range(20) if number not in (8, 9)], atol=0.01)


def test_a_play_list_opens_nothing_else(transport: bytes, tmp_path: Path) -> None:
    secret = encode(tmp_path / "secret.mp4", numbered(5))
    lists = {
        "a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode(),
        "b.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nlive.ts\n#EXT-X-ENDLIST\n",
        "c.ffconcat": f"ffconcat version 1.0\nfile '{secret}'\n".encode(),
    }
    with served({**lists, "live.ts": transport}) as address:
        for name in lists:
            with pytest.raises(ValueError, match=r"cannot be opened.*not followed"):
                open_source(f"{address}/{name}", StepClock())


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("file:///etc/passwd", "expected one of rtsp://"),
        ("concat://a|b", "not an address that is opened"),
        ("/dev/zero", "a device, not a file"),
        ("absent.mp4", "no such file"),
    ],
)
def test_what_is_no_source_is_refused_before_anything_slow(source: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_source(source, 25.0)


def test_an_address_where_nothing_is_says_so_without_its_password() -> None:
    address = "http://anna:secret@127.0.0.1:9/live?token=secret"
    assert shown_address(address) == "http://127.0.0.1:9/live"
    with pytest.raises(ValueError, match=r"^http://127\.0\.0\.1:9/live: cannot be opened"):
        open_source(address, StepClock())


def test_a_stream_that_falls_silent_has_ended_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent to an address and read from it, as a camera in the network does."""
    monkeypatch.setattr("tasks.media.live._SILENT_S", 1.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        address = f"udp://127.0.0.1:{free.getsockname()[1]}"
    sent = threading.Event()

    def send() -> None:
        with GrowingVideo(address, 64, 48, 25.0) as video:
            number = 0
            while not sent.wait(0.02):
                video.write(numbered(1)[0], number / 25)
                number += 1

    thread = threading.Thread(target=send)
    thread.start()
    try:
        source = open_source(address, StepClock())
        pictures = source.pictures()
        times = [next(pictures)[0] for _ in range(10)]
    finally:
        sent.set()
        thread.join()
    assert times == sorted(times) and times[-1] == pytest.approx(9 / 25, abs=0.01)
    assert isinstance(source, Stream)
    for _ in pictures:
        pass
    assert source.ended == f"nothing came from {address} for 1 s"
    source.close()
