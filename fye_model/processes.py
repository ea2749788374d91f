"""Processes that must not outlive the one that started them, and the CPUs and threads that there are for them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator


def die_with_parent() -> None:
    """In a child, before or after it starts: end with the thread of the parent that started it. Linux only."""
    parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)


def usable_cpus() -> int:
    """CPUs that this process may use, which a batch system or a container may have made fewer than there are."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: sums of several threads are added in another order, and differ in their last digits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
