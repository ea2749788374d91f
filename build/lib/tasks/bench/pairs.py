"""Who performs whom: pairs drawn by a seed, every portrait and every driving video as often as the others."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from tasks.bench.manifest import DrivingRow, PairRow, PortraitRow

DEFAULT_PAIRS = 45  # cases of the paper's user study


def draw_pairs(portraits: Sequence[PortraitRow], driving: Sequence[DrivingRow], count: int, seed: int) -> list[PairRow]:
    """`count` cross pairs without repetition (all there are, where they are fewer), then each video's self pair.

    Round after round, the portraits in a new random order take the video that was taken least so far and that they
    have not had. The same portraits, videos and seed give the same pairs.
    """
    source = random.Random(seed)
    own = [row.id for row in portraits if not row.frame_of]
    videos = [row.id for row in driving]
    count = min(count, len(own) * len(videos))
    used: Counter[str] = Counter()
    taken: set[tuple[str, str]] = set()
    drawn: list[PairRow] = []
    while len(drawn) < count:
        for portrait in source.sample(own, len(own)):
            free = [video for video in videos if (portrait, video) not in taken]
            if not free or len(drawn) == count:
                continue
            least = min(used[video] for video in free)
            video = source.choice([video for video in free if used[video] == least])
            used[video] += 1
            taken.add((portrait, video))
            drawn.append(PairRow(portrait=portrait, driving=video, kind="cross"))
    self_pairs = [
        PairRow(portrait=row.id, driving=row.frame_of, kind="self") for row in portraits if row.frame_of in videos
    ]
    return sorted(drawn, key=lambda pair: pair.name) + self_pairs
