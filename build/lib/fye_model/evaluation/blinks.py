"""Blinks in a clip and whether a result blinks when the truth does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Of a sequence's own open eye: an eye is closed below this share. Landmarks of a shut eye still leave about a quarter.
CLOSED_SHARE = 0.5
_OPEN_QUANTILE = 0.8
# A blink of the result belongs to one of the truth when their lowest points are at most this many frames apart.
TOLERANCE_FRAMES = 3


@dataclass(frozen=True)
class BlinkCounts:
    """Blinks of one clip: in the truth, in the result, those of the truth that the result has too, and how far off.

    offset_frames: summed distance of the lowest points of the matched ones.
    """

    truth: int
    result: int
    matched: int
    offset_frames: int


def find_blinks(opening: np.ndarray) -> list[int]:
    """The frames where blinks are deepest. opening: (f,) of both eyes, in any unit; NaN (no face) is no blink.

    A blink is a run of frames below half of the sequence's open eye (its 80th percentile); a single frame above
    between two such runs does not part them.
    """
    seen = np.isfinite(opening)
    if not seen.any():
        return []
    closed = seen & (np.where(seen, opening, np.inf) < CLOSED_SHARE * np.quantile(opening[seen], _OPEN_QUANTILE))
    closed[1:-1] |= closed[:-2] & closed[2:] & seen[1:-1]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], closed, [False]]).astype(int)))
    return [int(start + np.argmin(opening[start:stop])) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def match_blinks(truth: np.ndarray, result: np.ndarray) -> BlinkCounts:
    """Match each blink of the truth to the nearest unused one of the result; both are eye openings, (f,)."""
    wanted, offered = find_blinks(truth), find_blinks(result)
    pairs = sorted((abs(a - b), i, j) for i, a in enumerate(wanted) for j, b in enumerate(offered))
    used: tuple[set[int], set[int]] = (set(), set())
    total = 0
    for distance, i, j in pairs:
        if distance <= TOLERANCE_FRAMES and i not in used[0] and j not in used[1]:
            used[0].add(i)
            used[1].add(j)
            total += distance
    return BlinkCounts(len(wanted), len(offered), len(used[0]), total)
