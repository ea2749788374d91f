"""Opening a file with FFmpeg, whatever it is called and whatever it holds: `Quarantine` with a reason, or a container.

FFmpeg is handed an open file, never a name: names with a colon are no protocols, names in any encoding work, a pipe or
device is refused before it can block, and a play list inside the file cannot make FFmpeg open another file or address.
What a file is follows from its bytes; its suffix is not looked at.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path
from typing import Any

import av
import av.error
from av.stream import Disposition

from tasks.engine.items import Quarantine

_SIGNATURES = {  # by offset: MP4 and MOV; Matroska and WebM, AVI, Ogg, Flash, MPEG
    4: (b"ftyp", b"moov", b"mdat", b"free", b"wide"),
    0: (b"\x1aE\xdf\xa3", b"RIFF", b"OggS", b"FLV", b"\x00\x00\x01\xba"),
}
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
FIRST_BYTES = 16


def printable(path: Path | str) -> str:
    """A path for messages and tables: bytes that are not UTF-8 as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def open_regular(path: Path) -> int:
    """A descriptor of a regular file, for reading. Raises `Quarantine` (missing, dangling_link, link_loop,
    not_a_file, unreadable, zero_bytes) without ever waiting for a pipe or device."""
    name = printable(path)
    try:
        # a pipe without a writer would wait for one, a terminal would become this process's own
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise _not_opened(path, name, error) from None
    except ValueError:  # a zero byte in the name
        raise Quarantine("missing", f"{name!r}: no file can have this name") from None
    try:
        found = os.fstat(handle)
        for test, kind in _KINDS:
            if test(found.st_mode):
                raise Quarantine("not_a_file", f"{name}: {kind}, not a file; remove it, or name a file")
        if not found.st_size:
            raise Quarantine("zero_bytes", f"{name}: the file is empty; fetch it again")
    except BaseException:
        os.close(handle)
        raise
    return handle


def _not_opened(path: Path, name: str, error: OSError) -> Quarantine:
    if error.errno == errno.ENOENT and path.is_symlink():
        target = printable(Path(os.readlink(path)))
        return Quarantine("dangling_link", f"{name}: a link to {target}, which does not exist; restore or remove it")
    if error.errno == errno.ENOENT:
        return Quarantine("missing", f"{name}: no such file")
    if error.errno == errno.ELOOP:
        return Quarantine("link_loop", f"{name}: a link that leads back to itself; remove it")
    if error.errno == errno.ENXIO:
        return Quarantine("not_a_file", f"{name}: a socket or a device, not a file; remove it, or name a file")
    return Quarantine("unreadable", f"{name}: cannot be read ({error.strerror}); check its permissions")


def open_container(path: Path) -> Any:
    """A PyAV input container. Raises `Quarantine` as `open_regular` does, or truncated, or not_a_video."""
    handle = open_regular(path)
    try:
        head = os.pread(handle, FIRST_BYTES, 0)
        # FFmpeg duplicates the descriptor; the white list keeps play lists from opening anything else
        options = {"fd": str(handle), "protocol_whitelist": "fd"}
        return av.open("fd:", container_options=options, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise _not_understood(printable(path), head, error) from None
    except OSError as error:
        raise Quarantine("unreadable", f"{printable(path)}: cannot be read ({error.strerror})") from None
    finally:
        os.close(handle)


def moving_streams(container: Any) -> list[Any]:
    """The video streams of a container, without the pictures that are attached to it, such as a record's cover."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def _not_understood(name: str, head: bytes, error: av.error.FFmpegError) -> Quarantine:
    if any(head[offset:].startswith(magic) for offset, magics in _SIGNATURES.items() for magic in magics):
        return Quarantine(
            "truncated",
            f"{name}: starts like a video but its index is missing or damaged ({error.strerror}); fetch it again",
        )
    return Quarantine(
        "not_a_video", f"{name}: not a video that FFmpeg knows ({error.strerror}); convert it, or remove it"
    )


def index_is_cut_off(path: Path) -> bool:
    """Whether the `moov` box of an MP4 or MOV file reaches beyond the end of the file."""
    length = path.stat().st_size
    with path.open("rb") as file:
        start = 0
        while start + 8 <= length:
            file.seek(start)
            size, kind, large = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
            size = large if size == 1 else size or length - start
            if kind == b"moov":
                return start + size > length
            if size < 8:
                return False
            start += size
    return False
