"""GPUs, which one run at a time computes on: whoever comes second waits, and is told for whom.

A lock per card, under the card's own id, so that it holds whatever number the card has for a process. It is a lock of
the system on a file, which is let go when its process is gone, however it went. It holds on one machine, between all
its users; not between containers that share a card but no `/tmp`, which Prefect's limit sees to (`limits.py`).
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from fye_model.devices import Device

FOLDER = Path("/tmp/follow-your-emoji-cards")  # not TMPDIR, which batch systems give each job anew
_AGAIN_S = 1.0
_TOLD_S = 600.0  # between lines about one wait
logger = logging.getLogger(__name__)


def cards_of(device: Device, most: int | None = None) -> tuple[str, ...]:
    """The ids of the cards that work on this device takes: the first `most` that this process sees; None: all.

    None of them for the CPU. A device with a number of its own (`cuda:1`) is that card.
    """
    if not device.is_cuda:
        return ()
    import torch

    _, _, number = device.name.partition(":")
    seen = [int(number)] if number else range(torch.cuda.device_count())[:most]
    return tuple(str(torch.cuda.get_device_properties(index).uuid) for index in seen)


class InUse(Exception):
    """Somebody else computes there, and who asked does not want to wait; says who it is."""


@contextmanager
def held_cards(
    cards: Sequence[str], what: str, log: Callable[[str], None] = logger.info, *, wait: bool = True
) -> Iterator[None]:
    """Hold cards while the block computes on them, and wait until all can be had; `what` is told to those who wait.

    In one order for everybody, so that no two wait for each other. Raises `InUse` for who does not `wait`.
    """
    with ExitStack() as stack:
        for card in sorted(set(cards)):
            stack.enter_context(_held(card, what, log, wait))
        yield


@contextmanager
def _held(card: str, what: str, log: Callable[[str], None], wait: bool) -> Iterator[None]:
    handle = _open(card)
    try:
        _acquire(handle, card, what, log, wait)
        mine = f"{what}, process {os.getpid()}, since {datetime.now().astimezone():%H:%M on %d %B}"
        os.ftruncate(handle, 0)
        os.pwrite(handle, mine.encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _acquire(handle: int, card: str, what: str, log: Callable[[str], None], wait: bool) -> None:
    begun, told = time.monotonic(), -_TOLD_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if not wait:
                raise InUse(f"the GPU {card} is in use by {_holder(handle)}") from error
            waited = time.monotonic() - begun
            if waited - told >= _TOLD_S:
                told = waited
                log(f"{what} waits for the GPU {card}, which is in use by {_holder(handle)}")
            time.sleep(_AGAIN_S)
            continue
        if told >= 0:
            log(f"{what} has the GPU {card} after {time.monotonic() - begun:.0f} s")
        return


def _holder(handle: int) -> str:
    return os.pread(handle, 500, 0).decode(errors="replace") or "another process"


def _open(card: str) -> int:
    """The card's file, which stays: whoever removes a lock that others wait on gives it to two.

    Raises OSError for a place where it cannot be, or one that is no plain file: somebody has put a link in the way.
    """
    with suppress(FileExistsError):
        FOLDER.mkdir()
        FOLDER.chmod(0o1777)
    path = FOLDER / f"{card}.lock"
    for _ in range(2):
        with suppress(FileExistsError):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
            os.fchmod(handle, 0o666)  # for every user of the machine, whatever this one's umask says
            return handle
        with suppress(FileNotFoundError):  # no O_CREAT: on other users' files the system refuses it here
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return handle
            os.close(handle)
            raise OSError(f"{path} is no file, so nobody can tell who has the GPU; remove it")
    raise OSError(f"{path} comes and goes; is another program clearing {FOLDER}?")
