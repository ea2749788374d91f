"""What a file is by its content: a video that PyAV can show, whatever its name ends in."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import av

from tasks.engine.items import Quarantine
from tasks.media.opening import moving_streams, open_container

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg"})
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
_HEAD = 1024
_STARTS = {  # by offset
    0: (
        b"\x1aE\xdf\xa3",  # Matroska and WebM
        b"RIFF",
        b"RIFX",
        b"OggS",
        b"FLV\x01",
        b"\x00\x00\x01\xba",  # MPEG program stream
        b"\x00\x00\x01\xb3",  # MPEG video
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF: .wmv, .asf
        b"GIF87a",
        b"GIF89a",
        b".RMF",
        b"YUV4MPEG2",
        b"DKIF",  # IVF
        b"\x06\x0e\x2b\x34",  # MXF
        b"nut/multimedia container",
    ),
    4: (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot"),
}
_PICTURE_BRANDS = (b"heic", b"heix", b"mif1", b"avif")
_ANIMATED = 2  # flag of an extended WebP
_SYNC = 0x47  # of MPEG transport streams, every 188 bytes; 4 bytes more before each in .m2ts and .mts


def starts_like_video(head: bytes) -> bool:
    """Whether a file's first bytes are those of a container of videos."""
    if any(head[offset:].startswith(starts) for offset, starts in _STARTS.items()):
        moves = any(flags & _ANIMATED for flags in head[20:21]) and head[12:16] == b"VP8X"
        still_webp = head[8:12] == b"WEBP" and not moves
        return not (still_webp or head[8:12] == b"WAVE" or (head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS))
    return any(
        len(head) > first + 2 * step and all(head[first + k * step] == _SYNC for k in range(3))
        for first, step in ((0, 188), (4, 192))
    )


def claimed_seconds(path: Path) -> float | None:
    """How long a video says it is; None where it does not, or cannot be opened. Decodes nothing."""
    try:
        with open_container(path) as container:
            return None if container.duration is None else float(container.duration / av.time_base)
    except Quarantine:
        return None


def why_no_video(path: Path) -> str | None:
    """None for a file that holds moving pictures; else what it is instead. Reads a kilobyte of what is none.

    Only ordinary files are opened. Raises OSError where the file cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe of that name would wait for a writer
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return "no ordinary file"
        head = os.read(handle, _HEAD)
    finally:
        os.close(handle)
    if not head:
        return "empty"
    if not starts_like_video(head):
        return "no video by its content"
    try:
        with open_container(path) as container:
            if moving_streams(container):
                return None
            return "sound without moving pictures" if container.streams.audio else "no pictures in it"
    except Quarantine as error:
        return f"starts like a video, but {error.message.partition(': ')[2]}"
