"""How far a clip's sound is from its lips, for screening to judge: only where a recipe names SyncNet's weights.

A clip without sound, with silence alone, or too short to be shifted against its sound has no score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path

import numpy as np

from fye_model import asset_files
from fye_model.assets import SYNCNET
from fye_model.config import Config
from fye_model.landmarks.table import read_landmarks
from fye_model.lip_sync.settings import LipSyncConfig
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Nothing, Worker
from tasks.engine.stage import Context, Stage
from tasks.media.audio import NoSoundError, read_mono
from tasks.media.read import iter_frames


class LipSyncRow(Config):
    """SyncNet's verdict on a clip, None where it has none.

    offset_s: above 0 the sound comes before the lips. confidence: SyncNet's own measure, about 0 where no shift fits
    better than the others.
    """

    offset_s: float | None = None
    confidence: float | None = None


NOT_SCORED = LipSyncRow()


class LipSyncWorker(Worker[Nothing, LipSyncRow]):
    """Scores clip after clip with one network. Raises ValueError for weights that are not those of the recipe."""

    def __init__(self, settings: LipSyncConfig, context: Context) -> None:
        from fye_model.lip_sync.network import read_syncnet  # torch takes seconds to import

        check_weights(settings)
        assert settings.weights is not None, "the flow runs this stage only where weights are named"
        self._network = read_syncnet(settings.weights).to(context.device)

    def process(self, item: Given[Nothing]) -> LipSyncRow:
        """Writes no file: the scores are the row."""
        from fye_model.lip_sync.crop import cut_faces, face_windows
        from fye_model.lip_sync.score import FPS, LEAST_FRAMES, shared_frames, sync_score
        from fye_model.lip_sync.sound import RATE_HZ

        sequence = read_landmarks(item.files["landmarks"])
        shown = at_rate(len(sequence), sequence.fps, FPS)
        try:
            samples = read_mono(item.files["video"], RATE_HZ, len(shown) / FPS)
        except NoSoundError:
            return NOT_SCORED
        if not samples.any() or shared_frames(len(shown), len(samples)) < LEAST_FRAMES:
            return NOT_SCORED
        windows = face_windows(sequence.pixels(), sequence.valid)[shown]
        faces = cut_faces(_pictures(item.files["video"], shown), windows)
        found = sync_score(self._network, faces, samples)
        return LipSyncRow(offset_s=found.offset_frames / FPS, confidence=round(found.confidence, 3))


def check_weights(settings: LipSyncConfig, asked: bool = False) -> None:
    """Raise ValueError where the weights that a recipe names are not there, or are not what it says they are.

    asked: the stage is asked for by name, so the recipe has to name some.
    """
    path = settings.weights
    if path is None:
        if asked:
            raise ValueError("lip_sync does nothing until lip_sync.weights names syncnet_v2.model (`fye assets`)")
        return
    if not path.is_file():
        raise ValueError(f"lip_sync.weights: {path} is no file; {SYNCNET.place} is from {SYNCNET.source}")
    found = asset_files.digest(path)
    if found != settings.sha256:
        raise ValueError(
            f"lip_sync.weights: {path} has the sha256 {found}, expected {settings.sha256}; get it from "
            f"{SYNCNET.source}, or say lip_sync.sha256 where the weights are your own"
        )


def at_rate(frames: int, fps: float, wanted: int) -> Sequence[int]:
    """Which frames of a clip are shown at another rate."""
    times = np.arange(int(frames * wanted / fps)) / wanted  # divided last: 57 / 25 * 25 is less than 57
    chosen = np.minimum((times * fps + 0.5).astype(int), frames - 1)
    return [int(frame) for frame in chosen]


def _pictures(video: Path, shown: Sequence[int]) -> Iterator[np.ndarray]:
    """The frames of a clip that are shown, in order, each as often as it is; one at a time in memory."""
    times = Counter(shown)
    for number, picture in enumerate(iter_frames(video)):
        yield from repeat(picture, times[number])


LIPSYNC = Stage(
    "lip_sync",
    "2",
    settings=lambda recipe: recipe.lip_sync,
    reads={"video": Kind.CLIP, "landmarks": Kind.LANDMARKS},
    writes={},
    row=LipSyncRow,
    open=LipSyncWorker,
    resources=Resources(gpus=1, memory_gib=2),
    tools=("av", "torch"),
)
