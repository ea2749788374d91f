"""Many records made at once, without the search for cycles among them.

Python looks through all objects for cycles each time so many new ones are there. A record is part of none, and there
are millions of them where a data set's items are told of: the search took a third of the time of a run that finds
everything done.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_within = 0  # bodies of this process; the last one that ends turns the search on again
_before = True


@contextmanager
def many_records() -> Iterator[None]:
    """Within the body no cycles are looked for, in any thread. For making and reading records, not for work on them:
    a worker's pictures and tensors may well hang in cycles."""
    global _within, _before
    with _lock:
        if not _within:
            _before = gc.isenabled()
            gc.disable()
        _within += 1
    try:
        yield
    finally:
        with _lock:
            _within -= 1
            if not _within and _before:
                gc.enable()
