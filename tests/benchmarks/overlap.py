"""What it would bring if stages overlapped: `python -m tests.benchmarks.overlap [--cores N] [--videos N …]`.

Counted, not run: videos of the lengths of nine real ones are handed to so many workers by the rates that
`tests/benchmarks/extract.py` measures, longest first as the pool does, once with stages that wait for each other, as
they do, and once with every video's stages following each other and every clip going on alone. Encoding on a GPU is
added, as it is (behind screening, which looks at all clips) and as if each clip were encoded as soon as its landmarks
are there; a clip that screening would then reject costs nothing here, so the last figure flatters overlapping. It
takes a second.

| 16 cores, one card: videos | apart | flowing | saved | with encoding | overlapped | saved |
|---|---|---|---|---|---|---|
| 100 | 36.8 s | 37.5 s | -1.8% | 144.1 s | 112.4 s | 22% |
| 1,000 | 368.9 s | 368.9 s | -0.0% | 1448.9 s | 1088.0 s | 25% |
| 10,000 | 3684.6 s | 3684.3 s | 0.0% | 14492.9 s | 10816.2 s | 25% |
| 100, and 3 of twenty minutes (`--long 3`) | 316.4 s | 295.5 s | 6.6% | 725.7 s | 540.3 s | 26% |

So among the stages of the data half waiting costs nothing, because each stage's last videos are short ones; a long
video costs far more by itself than by waiting, and as spans it costs neither. What waits is the card: a first run's
encoding could hide most of the extraction in it. Later runs encode what is new, and beside 18 hours of training on a
card (docs/training.md) six minutes of 1,000 videos are 0.6%.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Sequence
from dataclasses import dataclass

# Seconds of the nine videos at hand, at 25 frames/s, in clips of at most CLIP_S
LENGTHS_S = (3.12, 14.92, 11.72, 7.2, 11.8, 33.6, 19.56, 4.12, 9.92)
CLIP_S = 5.0
# Core-seconds for a second of footage: milliseconds a frame by extract.py on those nine, with MediaPipe's graph
INGEST, CLIPS, LANDMARKS = 25 * 0.0027, 25 * 0.0052, 25 * 0.0104
ENCODED_FPS = 298.0  # encode.py: one card at 512 pixels in half precision


@dataclass(frozen=True)
class Spent:
    """Seconds of the data half, with and without waiting between stages, and of both with encoding on one GPU."""

    apart: float
    flowing: float
    apart_encoded: float
    flowing_encoded: float


def spent(lengths_s: Sequence[float], cores: int) -> Spent:
    """What videos of these lengths take."""
    clips = [piece for length in lengths_s for piece in _pieces(length)]
    begun, ended = [0.0] * cores, 0.0
    for rate, parts in ((INGEST, lengths_s), (CLIPS, lengths_s), (LANDMARKS, clips)):
        ended = max(_hand_out([(begun[0], rate * part) for part in sorted(parts, reverse=True)], cores))
        begun = [ended] * cores
    # a worker that has cut a video leaves its clips to all: they are ready when the cut is
    cut = sorted(lengths_s, reverse=True)
    done = _flow(cut, cores)
    encode_s = 25 * sum(clips) / ENCODED_FPS
    gpu = 0.0
    for ready, length in sorted(done):
        gpu = max(gpu, ready) + 25 * length / ENCODED_FPS
    return Spent(ended, max(ready for ready, _ in done), ended + encode_s, gpu)


def _pieces(length_s: float) -> list[float]:
    count = max(1, -int(-length_s // CLIP_S))
    return [length_s / count] * count


def _hand_out(jobs: Sequence[tuple[float, float]], cores: int) -> list[float]:
    """When each job (not before, seconds) ends, given in this order to whichever core is free first."""
    free = [0.0] * cores
    ends = []
    for ready, seconds in jobs:
        ends.append(max(heapq.heappop(free), ready) + seconds)
        heapq.heappush(free, ends[-1])
    return ends


def _flow(lengths_s: Sequence[float], cores: int) -> list[tuple[float, float]]:
    """(when its landmarks are there, length) of every clip, if a core takes a clip that waits before a new video."""
    free = [(0.0, core) for core in range(cores)]
    videos, waiting, done = list(reversed(lengths_s)), list[tuple[float, float]](), list[tuple[float, float]]()
    while videos or waiting:
        now, core = heapq.heappop(free)
        if waiting and (waiting[0][0] <= now or not videos):
            ready, piece = heapq.heappop(waiting)
            now = max(now, ready) + LANDMARKS * piece
            done.append((now, piece))
        else:
            length = videos.pop()
            now += (INGEST + CLIPS) * length
            for piece in _pieces(length):
                heapq.heappush(waiting, (now, piece))
        heapq.heappush(free, (now, core))
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--cores", type=int, default=16)
    parser.add_argument("--videos", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--long", type=int, default=0, help="that many of twenty minutes among them")
    given = parser.parse_args()
    print("| videos | apart | flowing | saved | with encoding | overlapped | saved |\n|---|---|---|---|---|---|---|")
    for count in given.videos:
        lengths = [LENGTHS_S[place % len(LENGTHS_S)] for place in range(count - given.long)] + [1200.0] * given.long
        found = spent(lengths, given.cores)
        data, encoded = 1 - found.flowing / found.apart, 1 - found.flowing_encoded / found.apart_encoded
        print(
            f"| {count:,} | {found.apart:.1f} s | {found.flowing:.1f} s | {data:.1%} | {found.apart_encoded:.1f} s | "
            f"{found.flowing_encoded:.1f} s | {encoded:.0%} |"
        )


if __name__ == "__main__":
    main()
