"""A file is a file whatever it is called; what is none, or is not there, is told apart and never waited for."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.engine.items import Quarantine
from tasks.media.audio import AudioSource
from tasks.media.opening import open_container, printable
from tasks.media.read import count_frames, probe, write_video
from tests.tasks.videos import click, encode, numbered


@pytest.mark.parametrize(
    "name", ["12:30.mp4", "http:x.mp4", "concat:a|b.mp4", "-y.mp4", "%03d.mp4", "ä ö.mp4", "no suffix"]
)
def test_names_mean_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    encode(tmp_path / "v.mp4", numbered(5), sound=(click(0.2, 0.1), 0.0)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)  # as a user types it
    assert count_frames(Path(name)) == 5
    AudioSource(Path(name)).close()
    Path(name).rename("source")
    write_video(Path(name), numbered(5), 25.0, audio=Path("source"))
    assert probe(Path(name)).has_audio


def test_a_name_that_is_not_utf8_is_read_and_printed(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    encode(tmp_path / "v.mp4", numbered(5)).rename(path)
    assert count_frames(path) == 5
    assert printable(path).endswith(r"caf\xe9.mp4")
    path.write_bytes(b"no video at all")
    with pytest.raises(Quarantine) as caught:
        probe(path)
    caught.value.message.encode()  # what is written down can be written


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "bad.mp4")
    return folder / "bad.mp4"


def listening(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(folder)  # addresses are short
        try:
            server.bind("bad.mp4")
        finally:
            os.chdir(here)
    return folder / "bad.mp4"


def link(target: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "bad.mp4").symlink_to(target)
        return folder / "bad.mp4"

    return make


@pytest.mark.parametrize(
    ("make", "reason", "words"),
    [
        (fifo, "not_a_file", "a pipe, not a file"),
        (listening, "not_a_file", "a socket"),
        (link("/dev/zero"), "not_a_file", "a device, not a file"),
        (link("/nowhere/at/all.mp4"), "dangling_link", "a link to /nowhere/at/all.mp4, which does not exist"),
        (link("bad.mp4"), "link_loop", "leads back to itself"),
        (lambda folder: folder, "not_a_file", "a folder, not a file"),
        (lambda folder: folder / "absent.mp4", "missing", "no such file"),
        (lambda folder: folder / "zero\0byte.mp4", "missing", "no file can have this name"),
    ],
    ids=["pipe", "socket", "device", "dangling", "loop", "folder", "absent", "zero byte"],
)
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], Path], reason: str, words: str
) -> None:
    with pytest.raises(Quarantine, match=words) as caught:
        open_container(make(tmp_path))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n{video}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{video}'\n",
    ],
    ids=["play list", "concatenation"],
)
def test_a_play_list_opens_no_other_file(tmp_path: Path, content: str) -> None:
    video = encode(tmp_path / "v.ts", numbered(5))
    (tmp_path / "list.mp4").write_text(content.format(video=video))
    with pytest.raises(Quarantine) as caught:
        probe(tmp_path / "list.mp4")
    assert caught.value.reason == "not_a_video"


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    good = encode(tmp_path / "v.mp4", numbered(5))
    (tmp_path / "bad.mp4").write_text("no video")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        count_frames(good)
        with pytest.raises(Quarantine):
            probe(tmp_path / "bad.mp4")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("suffix", "codec", "size"),
    [
        ("ts", "libx264", (64, 48)),
        ("mts", "libx264", (64, 48)),
        ("wmv", "wmv2", (64, 48)),
        ("flv", "flv", (64, 48)),
        ("3gp", "mpeg4", (176, 144)),
        ("gif", "gif", (64, 48)),
        ("ogv", "libvpx", (64, 48)),
    ],
)
def test_any_kind_is_taken_by_its_content(tmp_path: Path, suffix: str, codec: str, size: tuple[int, int]) -> None:
    pixels = "rgb8" if codec == "gif" else "yuv420p"
    video = encode(tmp_path / f"v.{suffix}", numbered(6, *size), codec=codec, pixels=pixels)
    assert count_frames(video.rename(tmp_path / "holiday.txt")) == 6
