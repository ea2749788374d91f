"""What it brings that stages overlap: `python -m tests.benchmarks.overlap [--cores N] [--cards N] [--videos N …]`.

Counted, not run: videos of the lengths of nine real ones are handed to so many workers by the rates that
`tests/benchmarks/extract.py` measures, longest first as the pool does; once with stages that wait for each other, and
once flowing, every video's stages following each other and every clip going on alone. Then encoding on a GPU: behind
screening, which looks at all clips; ahead, as runs do it where the encoders are given (`runtime.ahead`): each clip as
soon as it has its landmarks, beside those of others; and behind data that flow. A clip that only the look at all
clips rejects costs nothing here, nor does loading the encoders twice; a second or two of an hour. It takes a second.

| 16 cores, one card: videos | apart | flowing | encoded behind | ahead | saved | flowing | saved |
|---|---|---|---|---|---|---|---|
| 100 | 23.1 s | 23.5 s | 130.4 s | 116.6 s | 11% | 110.2 s | 15% |
| 1,000 | 231.8 s | 231.8 s | 1311.9 s | 1165.6 s | 11% | 1084.5 s | 17% |
| 10,000 | 2315.5 s | 2315.3 s | 13123.8 s | 11654.8 s | 11% | 10812.7 s | 18% |
| 100, and 3 of twenty minutes (`--long 3`) | 181.6 s | 167.1 s | 589.5 s | 534.8 s | 9% | 428.9 s | 27% |
| 1,000 with four cards (`--cards 4`) | 231.8 s | 231.8 s | 501.9 s | 355.6 s | 29% | 274.5 s | 45% |

So among the stages of the data half waiting costs nothing, because each stage's last videos are short ones; a long
video costs far more by itself than by waiting, and as spans it costs neither. What waits is the card. Ahead of its turn
it works through the landmark stage, which is the longer half; the rest would need clips that get their landmarks while
other videos are still read. Later runs encode what is new, and beside 18 hours of training on a card (docs/training.md)
the two and a half minutes of 1,000 videos are 0.2%.

No GPU ran this: on two CPU cores a run with a tiny autoencoder begins to encode before its last clip has landmarks, to
the bytes that the stage's own turn gives (`tests/flows/test_encoding.py`); what it saves on a card is counted only.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Sequence
from dataclasses import dataclass

# Seconds of the nine videos at hand, at 25 frames/s, in clips of at most CLIP_S
LENGTHS_S = (3.12, 14.92, 11.72, 7.2, 11.8, 33.6, 19.56, 4.12, 9.92)
CLIP_S = 5.0
# Core-seconds for a second of footage: milliseconds a frame by extract.py, with the models alone
CLIPS, LANDMARKS = 25 * 0.0042, 25 * 0.0073
ENCODED_FPS = 298.0  # encode.py: one card at 512 pixels in half precision


@dataclass(frozen=True)
class Spent:
    """Seconds of the data half, with and without waiting between stages; and with encoding behind it, ahead of its
    turn beside the landmarks (`runtime.ahead`), and behind a data half without waiting."""

    apart: float
    flowing: float
    encoded_behind: float
    encoded_ahead: float
    encoded_flowing: float


def spent(lengths_s: Sequence[float], cores: int, cards: int) -> Spent:
    """What videos of these lengths take."""
    clips = sorted((piece for length in lengths_s for piece in _pieces(length)), reverse=True)
    longest_first = sorted(lengths_s, reverse=True)
    begun, ends = 0.0, list[float]()
    for rate, parts in ((CLIPS, longest_first), (LANDMARKS, clips)):
        ends = _hand_out([(begun, rate * part) for part in parts], cores)
        begun = max(ends)
    marked = sorted(zip(ends, clips, strict=True))
    # a worker that has cut a video leaves its clips to all: they are ready when the cut is
    flowing = sorted(_flow(longest_first, cores))
    return Spent(
        apart=begun,
        flowing=max(ready for ready, _ in flowing),
        encoded_behind=_encoded([(begun, clip) for clip in clips], cards),
        encoded_ahead=_encoded(marked, cards),
        encoded_flowing=_encoded(flowing, cards),
    )


def _encoded(clips: Sequence[tuple[float, float]], cards: int) -> float:
    """When the last of the clips (not before, length), in this order, is encoded."""
    return max(_hand_out([(ready, 25 * length / ENCODED_FPS) for ready, length in clips], cards))


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
            now += CLIPS * length
            for piece in _pieces(length):
                heapq.heappush(waiting, (now, piece))
        heapq.heappush(free, (now, core))
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--cores", type=int, default=16)
    parser.add_argument("--cards", type=int, default=1)
    parser.add_argument("--videos", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--long", type=int, default=0, help="that many of twenty minutes among them")
    given = parser.parse_args()
    print("| videos | apart | flowing | encoded behind | ahead | saved | flowing | saved |\n" + "|---" * 8 + "|")
    for count in given.videos:
        lengths = [LENGTHS_S[place % len(LENGTHS_S)] for place in range(count - given.long)] + [1200.0] * given.long
        found = spent(lengths, given.cores, given.cards)
        ahead, flowing = (
            f"{each:.1f} s | {1 - each / found.encoded_behind:.0%}"
            for each in (found.encoded_ahead, found.encoded_flowing)
        )
        print(
            f"| {count:,} | {found.apart:.1f} s | {found.flowing:.1f} s | {found.encoded_behind:.1f} s | {ahead} | "
            f"{flowing} |"
        )


if __name__ == "__main__":
    main()
