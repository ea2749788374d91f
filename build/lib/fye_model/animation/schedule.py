"""Which frames are denoised together: the coarse-to-fine plan for a video of any length. Pure integers, no tensors.

The plan is a list of windows. The first holds the keyframes and has nothing to go by; every later one lies between two
frames that are already finished and keeps them (the paper's progressive strategy). Spans are walked depth first and
from left to right, so that frames finish in playing order and only a handful has to be remembered.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

MIN_WINDOW = 3  # two kept ends and at least one frame to fill


@dataclass(frozen=True)
class Window:
    """Frames that go through the denoiser together.

    `frames`: strictly increasing frame numbers. `given`: for each of them, whether it is finished and stays as it is.
    `ready`: how many frames from the start of the video are finished, without a gap, once this window is done.
    """

    frames: tuple[int, ...]
    given: tuple[bool, ...]
    ready: int

    @property
    def new(self) -> tuple[int, ...]:
        """Frames that this window finishes."""
        return tuple(frame for frame, given in zip(self.frames, self.given, strict=True) if not given)


def _check(length: int, window: int) -> None:
    if length < 1:
        raise ValueError(f"Nothing to plan: the driver has {length} frames; at least 1 is needed")
    if window < MIN_WINDOW:
        raise ValueError(f"window is {window}; progressive generation needs at least {MIN_WINDOW} frames in a window")


def _levels(gap: int, window: int) -> list[int]:
    """Number of spans that a gap is cut into at each level, coarse to fine: as few as let deeper levels fill the rest.

    The last level is dense (spans of one frame). All spans of a level share these numbers, so that their windows have
    the same size, give or take one frame.
    """
    depth = 1
    while (window - 1) ** depth < gap:
        depth += 1
    levels = []
    for reach in ((window - 1) ** below for below in range(depth - 1, -1, -1)):
        levels.append(-(-gap // reach))
        gap = -(-gap // levels[-1])
    return levels


def _stops(first: int, last: int, spans: int) -> list[int]:
    """The span's two ends and what lies between them at this level. Gaps differ by at most one, the wide ones first."""
    spans = min(spans, last - first)
    narrow, wide_spans = divmod(last - first, spans)
    stops = [first]
    for index in range(spans):
        stops.append(stops[-1] + narrow + (index < wide_spans))
    return stops


def _spans(stops: list[int], levels: list[int]) -> Iterator[list[int]]:
    """Windows between neighbouring stops, depth first: each list starts and ends with a finished frame."""
    for left, right in itertools.pairwise(stops):
        if right - left > 1:
            inner = _stops(left, right, levels[0])
            yield inner
            yield from _spans(inner, levels[1:])


def progressive_windows(length: int, window: int = 16) -> list[Window]:
    """Plan a video of `length` frames: keyframes first, then recursive infilling between finished frames.

    Every frame is new in exactly one window; a window has at most `window` frames. A video that fits into one window
    is that one window. The dense windows (consecutive frames, where nearly all the work is) all have the same size:
    where a span is narrower, finished frames to its left join as given ones, so that one compiled shape serves them
    all. Raises `ValueError` for an empty video or a window below 3.
    """
    _check(length, window)
    if length == 1:
        return [Window((0,), (False,), 1)]
    levels = _levels(length - 1, window)
    keys = _stops(0, length - 1, levels[0])
    if len(keys) == length:
        return [Window(tuple(keys), (False,) * length, length)]
    spans = list(_spans(keys, levels[1:]))
    dense_size = max((len(stops) for stops in spans if stops[-1] - stops[0] == len(stops) - 1), default=0)
    windows = [Window(tuple(keys), (False,) * len(keys), 1)]
    finished = set(keys)
    ready = 1
    for stops in spans:
        frames = list(stops)
        if stops[-1] - stops[0] == len(stops) - 1:
            # The walk goes from left to right, so that everything before a dense span is finished.
            padding = min(dense_size - len(stops), stops[0])
            frames = [*range(stops[0] - padding, stops[0]), *stops]
        given = tuple(frame in finished for frame in frames)
        finished.update(frames)
        while ready in finished:
            ready += 1
        windows.append(Window(tuple(frames), given, ready))
    assert ready == length, f"{ready} of {length} frames planned"
    return windows


def overlap_windows(length: int, window: int = 16, overlap: int = 4) -> list[range]:
    """Windows of consecutive frames that share at least `overlap` frames with their neighbours and cover everything.

    This is what the released code averages over at every step. The last window is moved back so that it ends with the
    video and is full. Raises `ValueError` for an empty video, or an overlap that is not below the window.
    """
    _check(length, max(window, MIN_WINDOW))
    if not 0 <= overlap < window:
        raise ValueError(f"overlap is {overlap}; it must be at least 0 and below the window ({window} frames)")
    if length <= window:
        return [range(length)]
    starts = [*range(0, length - window, window - overlap), length - window]
    return [range(start, start + window) for start in starts]


def frames_computed(length: int, window: int = 16) -> int:
    """Frames that go through the denoiser for a progressive video: more than `length`, because given ones count too."""
    return sum(len(item.frames) for item in progressive_windows(length, window))
