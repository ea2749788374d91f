"""Face tracks: which boxes of successive looks at a video belong to one face, which faces to keep, and where to cut.

A look is a frame in which faces were searched; most frames are not looked at. Boxes are in pixels of the video. Spans
are half-open frame ranges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from fye_model.landmarks.boxes import PixelBox, overlap

MIN_OVERLAP = 0.2  # intersection over union of one face in two looks; a fifth of a second of fast turning stays above


@dataclass(frozen=True)
class Look:
    """The faces found in one frame, boxes in pixels."""

    frame: int
    boxes: tuple[PixelBox, ...]


@dataclass
class Track:
    """One face through one scene: the frames in which it was seen (rising) and its box there."""

    frames: list[int] = field(default_factory=list)
    boxes: list[PixelBox] = field(default_factory=list)

    @property
    def start(self) -> int:
        return self.frames[0]

    @property
    def stop(self) -> int:
        return self.frames[-1] + 1

    @property
    def length(self) -> int:
        return self.stop - self.start

    @property
    def area(self) -> float:
        """Median area of the face."""
        left, top, right, bottom = np.array(self.boxes).T
        return float(np.median((right - left) * (bottom - top)))

    def union(self, start: int, stop: int) -> PixelBox:
        """Smallest box around the face in frames start .. stop, boxes between looks interpolated."""
        boxes = np.array(self.boxes)
        frames = np.arange(start, stop)
        left, top, right, bottom = (np.interp(frames, self.frames, boxes[:, i]) for i in range(4))
        return PixelBox(float(left.min()), float(top.min()), float(right.max()), float(bottom.max()))


def matched(before: Sequence[PixelBox], after: Sequence[PixelBox]) -> list[tuple[int, int]]:
    """Pairs (index before, index after) of boxes that are one face: greedy, best overlap first."""
    candidates = [(overlap(a, b), i, j) for i, a in enumerate(before) for j, b in enumerate(after)]
    pairs: list[tuple[int, int]] = []
    for score, i, j in sorted(candidates, reverse=True):
        if score >= MIN_OVERLAP and all(i != p and j != q for p, q in pairs):
            pairs.append((i, j))
    return pairs


def steady(before: Sequence[PixelBox], after: Sequence[PixelBox]) -> bool:
    """Whether two looks show the same faces, so that frames between them need no look."""
    return len(before) == len(after) == len(matched(before, after))


def link(looks: Sequence[Look], cuts: Sequence[int], max_gap: int) -> list[Track]:
    """Tracks through the looks (rising frames). A track ends at a cut (first frame of a new scene) and after more than
    `max_gap` frames in a row in which its face was searched and not found."""
    done: list[Track] = []
    active: list[Track] = []
    bounds = sorted(cuts)
    before = -1
    for look in looks:
        ended = any(before < cut <= look.frame for cut in bounds)
        kept: list[Track] = []
        for track in active:
            # frames that nobody looked at, between two looks in a row, are no gap
            missed = track.frames[-1] < before
            over = ended or (missed and look.frame - track.frames[-1] - 1 > max_gap)
            (done if over else kept).append(track)
        active = kept
        before = look.frame
        pairs = matched([track.boxes[-1] for track in active], look.boxes)
        for i, j in pairs:
            active[i].frames.append(look.frame)
            active[i].boxes.append(look.boxes[j])
        taken = {j for _, j in pairs}
        active += [Track([look.frame], [box]) for j, box in enumerate(look.boxes) if j not in taken]
    return sorted(done + active, key=lambda track: (track.start, track.boxes[0]))


def select(
    tracks: Sequence[Track], faces: Literal["largest", "longest", "all"], min_frames: int
) -> tuple[list[Track], list[tuple[Track, str]]]:
    """(tracks to keep, in order of time; the others, each with its reason: too_short or other_face).

    `largest` and `longest` keep one face at any time: the best first, then those that do not overlap it in time.
    """
    rejected = [(track, "too_short") for track in tracks if track.length < min_frames]
    rest = [track for track in tracks if track.length >= min_frames]
    if faces != "all":
        rest.sort(key=lambda track: (track.area, track.length) if faces == "largest" else (track.length, track.area))
        chosen: list[Track] = []
        for track in reversed(rest):
            if all(track.stop <= other.start or other.stop <= track.start for other in chosen):
                chosen.append(track)
            else:
                rejected.append((track, "other_face"))
        rest = chosen
    order = {id(track): i for i, track in enumerate(tracks)}
    return sorted(rest, key=lambda t: order[id(t)]), sorted(rejected, key=lambda pair: order[id(pair[0])])


def pieces(start: int, stop: int, min_frames: int, max_frames: int) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """(spans of at most `max_frames`, what is left over at the end).

    Spans are as equal as possible; where equal ones would fall below `min_frames`, full ones are taken and the rest is
    left over (an empty span otherwise).
    """
    length = stop - start
    count = -(-length // max_frames)
    if length >= count * min_frames:
        edges = [start + length * i // count for i in range(count + 1)]
        return list(pairwise(edges)), (stop, stop)
    edges = list(range(start, stop + 1, max_frames))
    return list(pairwise(edges)), (edges[-1], stop)
