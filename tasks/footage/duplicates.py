"""Clips that show the same moments again: re-uploads, re-encodes, trimmed and mirrored copies.

A clip is known by thumbnails, 16 × 16 grey levels a frame, taken while its landmarks are made. Two clips are compared
where their mean thumbnails look alike, straight and mirrored, at every shift in time. What is compared is the change
within a second: slow movement of two takes of one person in the same chair may well be alike, its details are not.
Measured on seven real head videos (8.5 s; re-encoded at half the size and crf 36, mirrored at 0.8 of the size, trimmed
by 1.13 s): copies correlate by 0.84 to 0.99 over the frames that they share, and by 0.71 where a face hardly moves; the
two halves of one take by at most 0.51 at whatever shift, drawn clips of one photograph in other motion by at most 0.34.
A picture that does not move has no change to compare, and is not found.

Thirty frames and their mirrored copy correlate by 0.99. Copies of 30 frames that also have a quarter of the pixels
and crf 36, and are cut 3% otherwise, are found for 29 of 50 pieces of these and two more videos; for 33 where
pictures are first laid over each other, which is not worth its time. No piece of another video was taken for one.
Pieces of one person that repeat a movement in time correlate by up to 0.8: within a video none is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fye_model.config import Config

SIDE = 16
_SAMPLED = 128  # rows and columns of a picture that are looked at
ALIKE = 0.95  # correlation of mean thumbnails from which two clips are compared
MIN_SHARED = 24  # frames; fewer say nothing
LONG = 48  # frames from which the threshold is enough; fewer must agree better
SHORT_MORE = 0.2
SECOND = 25  # frames, odd: slower change than this is left out
_BLOCK = 128  # clips compared with all others at once
_STILL = 0.05  # grey levels of change, below which there is nothing to compare


@dataclass(frozen=True)
class Seen:
    """A clip to compare: its id, the source that it was cut from (whose clips never repeat each other), its file.

    wanted: somebody decided to keep it, so it stays. worth: of two copies the one of greater worth is kept.
    """

    clip: str
    source: str
    thumbnails: Path
    wanted: bool = False
    worth: tuple[float, ...] = ()


@dataclass(frozen=True)
class Pair:
    """Two clips, by their places, that show the same moments: over how many frames, and how alike they change."""

    first: int
    second: int
    frames: int
    correlation: float
    mirrored: bool


class Copy(Config):
    """A clip that shows the same moments as one that is kept: over how many frames, and how alike they change."""

    clip: str
    of: str
    frames: int
    correlation: float
    mirrored: bool

    def reason(self, name: str) -> str:
        """Why it is not kept, in words. `name`: of the clip that is."""
        how = f"{self.frames} frames{', mirrored' if self.mirrored else ''}, correlation {self.correlation:.3g}"
        return f"shows the same moments as {name}, which is kept ({how}; screening.copy_correlation)"


def thumbnail(rgb: np.ndarray) -> np.ndarray:
    """(16, 16) float16 mean grey levels of (h, w, 3) uint8 RGB, from some 128 of its rows and columns, or all it has.

    Of a small picture fewer say nothing: every fourth column of 64 is one for each cell, and in the mirrored picture it
    is another one.
    """
    every = max(1, min(rgb.shape[:2]) // _SAMPLED)
    grey = rgb[every // 2 :: every, every // 2 :: every, 1].astype(np.float32)
    rows, columns, sizes = _cells(*grey.shape)
    sums = np.add.reduceat(np.add.reduceat(grey, rows, axis=0), columns, axis=1)
    return np.asarray(sums / sizes, np.float16)


@lru_cache(maxsize=8)
def _cells(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first rows and columns of a thumbnail's cells in a picture, and how many pixels each holds (16, 16)."""
    rows, columns = (np.arange(SIDE) * length // SIDE for length in (height, width))
    return rows, columns, np.outer(np.diff([*rows, height]), np.diff([*columns, width]))


def write_thumbnails(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Write a clip's thumbnails, (f, 16, 16)."""
    np.save(path, np.stack(frames), allow_pickle=False)


def read_thumbnails(path: Path) -> np.ndarray:
    """(f, 256) float32. ValueError for another file."""
    found = np.load(path, allow_pickle=False)
    if found.ndim != 3 or found.shape[1:] != (SIDE, SIDE) or not len(found):
        raise ValueError(f"{path}: expected thumbnails (frames, {SIDE}, {SIDE}), got {found.shape}")
    return found.reshape(len(found), -1).astype(np.float32)


def find_pairs(clips: Sequence[Seen], threshold: float) -> list[Pair]:
    """Every two clips of different sources that share half of the shorter one, or more.

    threshold: correlation of the change from which two clips are copies.
    """
    if len(clips) < 2 or threshold >= 1:
        return []
    read = lru_cache(maxsize=1024)(lambda place: _change(read_thumbnails(clips[place].thumbnails)))
    means = np.stack([_unit(read_thumbnails(clip.thumbnails).mean(axis=0)) for clip in clips])
    sources = np.array([clip.source for clip in clips])
    pairs = []
    for mirrored in (False, True):
        for first, second in _alike(means, _flip(means) if mirrored else means, sources):
            pair = _compare(read, first, second, mirrored, threshold)
            if pair is not None:
                pairs.append(pair)
    best: dict[tuple[int, int], Pair] = {}
    for pair in pairs:
        known = best.get((pair.first, pair.second))
        if known is None or pair.correlation > known.correlation:
            best[pair.first, pair.second] = pair
    return list(best.values())


def find_copies(clips: Sequence[Seen], threshold: float) -> tuple[list[tuple[str, str]], list[Copy]]:
    """Every two clips that show the same moments, and those that need not be kept for it: the best of each group stays.

    threshold: as in `find_pairs`.
    """
    pairs = find_pairs(clips, threshold)
    order = sorted(range(len(clips)), key=lambda place: clips[place].clip)
    order.sort(key=lambda place: (clips[place].wanted, clips[place].worth), reverse=True)
    copies = [
        Copy(
            clip=clips[place].clip,
            of=clips[pair.first + pair.second - place].clip,
            frames=pair.frames,
            correlation=pair.correlation,
            mirrored=pair.mirrored,
        )
        for place, pair in _copies(order, pairs).items()
        if not clips[place].wanted
    ]
    return [(clips[pair.first].clip, clips[pair.second].clip) for pair in pairs], copies


def _copies(order: Sequence[int], pairs: Sequence[Pair]) -> dict[int, Pair]:
    """Which clips are copies of one that is kept, with the pair that says so. order: the best clip first."""
    partners: dict[int, list[Pair]] = {}
    for pair in pairs:
        partners.setdefault(pair.first, []).append(pair)
        partners.setdefault(pair.second, []).append(pair)
    kept: set[int] = set()
    copies: dict[int, Pair] = {}
    for place in order:
        known = [pair for pair in partners.get(place, []) if (pair.first + pair.second - place) in kept]
        if known:
            copies[place] = max(known, key=lambda pair: (pair.frames, pair.correlation))
        else:
            kept.add(place)
    return copies


def _change(thumbnails: np.ndarray) -> np.ndarray:
    """(f, 256): what is different from the mean of the second around each frame."""
    half = SECOND // 2
    around = np.pad(thumbnails, ((half, half), (0, 0)), mode="edge" if len(thumbnails) <= half else "reflect")
    sums = np.cumsum(np.concatenate([np.zeros((1, around.shape[1])), around]), axis=0)
    return np.asarray(thumbnails - (sums[SECOND:] - sums[:-SECOND]) / SECOND, np.float32)


def _unit(mean: np.ndarray) -> np.ndarray:
    centred = mean - mean.mean()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-6), np.float32)


def _flip(flat: np.ndarray) -> np.ndarray:
    """Rows of flat thumbnails, mirrored."""
    return np.ascontiguousarray(flat.reshape(len(flat), SIDE, SIDE)[:, :, ::-1].reshape(len(flat), -1))


def _alike(means: np.ndarray, others: np.ndarray, sources: np.ndarray) -> Iterator[tuple[int, int]]:
    """Places of two clips of different sources whose mean thumbnails look alike, the lesser place first."""
    for start in range(0, len(means), _BLOCK):
        fit = means[start : start + _BLOCK] @ others[start:].T
        found = np.flatnonzero(fit >= ALIKE)  # np.argwhere of a table takes as long as the product
        for first, second in zip(found // fit.shape[1] + start, found % fit.shape[1] + start, strict=True):
            if first < second and sources[first] != sources[second]:
                yield int(first), int(second)


def _compare(
    read: Callable[[int], np.ndarray], first: int, second: int, mirrored: bool, threshold: float
) -> Pair | None:
    """The pair where the two share enough at the shift that fits best."""
    a, b = read(first), read(second)
    if mirrored:
        b = _flip(b)
    shift, rough = _best_shift(a, b)
    if rough < threshold - 0.15:
        return None
    best = max(((*_correlation(a, b, near), near) for near in range(shift - 1, shift + 2)), key=lambda found: found[0])
    correlation, frames, _ = best
    needed = threshold if frames >= LONG else min(threshold + SHORT_MORE, 1.0)
    if frames < _least_shared(a, b) or correlation < needed:
        return None
    return Pair(first, second, frames, round(correlation, 3), mirrored)


def _least_shared(a: np.ndarray, b: np.ndarray) -> int:
    return max(MIN_SHARED, min(len(a), len(b)) // 2)


def _best_shift(a: np.ndarray, b: np.ndarray) -> tuple[int, float]:
    """(shift, correlation) that fits best; frame i of `a` is frame i - shift of `b`. Each is centred as a whole."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    product = a @ b.T
    rows, columns = np.indices(product.shape)
    sums = np.bincount((rows - columns + len(b) - 1).ravel(), product.ravel(), len(a) + len(b) - 1)
    shifts = np.arange(len(sums)) - (len(b) - 1)
    starts, ends = np.maximum(shifts, 0), np.minimum(len(a), len(b) + shifts)
    energy_a, energy_b = (np.concatenate([[0.0], np.cumsum((x**2).sum(axis=1))]) for x in (a, b))
    energy = (energy_a[ends] - energy_a[starts]) * (energy_b[ends - shifts] - energy_b[starts - shifts])
    fit = np.where(ends - starts >= _least_shared(a, b), sums / np.sqrt(np.maximum(energy, 1e-6)), -1.0)
    best = int(fit.argmax())
    return int(shifts[best]), float(fit[best])


def _correlation(a: np.ndarray, b: np.ndarray, shift: int) -> tuple[float, int]:
    """(correlation of the change over the shared frames, their number) at a shift."""
    start, end = max(shift, 0), min(len(a), len(b) + shift)
    if end - start < 2:
        return -1.0, 0
    x, y = a[start:end], b[start - shift : end - shift]
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    least = _STILL * np.sqrt(x.size)
    norms = float(np.linalg.norm(x)), float(np.linalg.norm(y))
    return (float((x * y).sum()) / (norms[0] * norms[1]) if min(norms) > least else -1.0), end - start
