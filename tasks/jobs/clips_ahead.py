"""What the GPU does with clips before they are trained on; and what of it can be while others wait for landmarks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tasks.encoders import ENCODERS, EncodersRow
from tasks.engine.ahead import Begun
from tasks.engine.items import NOTHING, Item, Nothing, Outcome
from tasks.engine.stage import AnyStage
from tasks.engine.store import FileRef
from tasks.landmarks import LANDMARKS, LandmarkRow
from tasks.latents import LATENTS
from tasks.lip_sync import LIPSYNC, NOT_SCORED, LipSyncRow
from tasks.plan import STAGES
from tasks.screening import decided, scored_clip, screen
from tasks.workspace.dataset import Clip, ClipSet, per_clip_items, whole_inputs
from tasks.workspace.decisions import read_decisions
from tasks.workspace.run import Run


def encoder_items(run: Run, kept: Sequence[Clip]) -> list[Item[ClipSet]]:
    """The encoders' one item: clips only where an autoencoder is fitted on them, for given ones are what they are."""
    fitted_on = kept if run.recipe.autoencoder.path is None else []
    return run.one_item("encoders", fitted_on, whole_inputs(fitted_on, "video", "landmarks"))


def encoder_files(fitted: Outcome[EncodersRow]) -> dict[str, FileRef]:
    """`vae/…` and `image_encoder/…`."""
    return fitted.refs("vae/") | fitted.refs("image_encoder/")


def lip_items(clips: Iterable[Clip]) -> list[Item[Nothing]]:
    """An item a clip."""
    return per_clip_items(clips, NOTHING, "video", "landmarks")


def latent_items(clips: Iterable[Clip], encoders: Mapping[str, FileRef]) -> list[Item[Nothing]]:
    """An item a clip."""
    return per_clip_items(clips, NOTHING, "video", "landmarks", **encoders)


class ClipsAhead:
    """Plans what the GPU can do with a clip as soon as its landmarks are there: score its lips, and encode it.

    It is encoded when nothing speaks against it that looks at one clip alone, and the encoders are there.

    stages: those of `LIPSYNC`, `ENCODERS` and `LATENTS` that have a turn later in the run.
    """

    def __init__(self, training: Run, clips: Iterable[Clip], stages: Sequence[AnyStage]) -> None:
        self.run, self.recipe, self.stages = training, training.recipe, stages
        self.clips = {clip.id: clip for clip in clips}
        decisions = read_decisions(training.store)
        self.decisions = {clip: said.keep for clip, said in decisions.items() if said.keep is not None}
        self.marked: dict[str, Outcome[LandmarkRow]] = {}  # clips whose lips are not scored
        self.judged: list[tuple[Outcome[LandmarkRow], LipSyncRow]] = []  # clips that wait for the encoders
        self.encoders: dict[str, FileRef] = {}

    def first(self) -> Iterator[Begun]:
        """The encoders."""
        if ENCODERS in self.stages:
            yield from ((ENCODERS, item) for item in encoder_items(self.run, []))

    def after(self, stage: AnyStage, outcome: Outcome[Any]) -> Iterator[Begun]:
        """What follows from landmarks, scored lips and encoders."""
        if stage.name == LANDMARKS.name and LIPSYNC in self.stages:
            self.marked[outcome.id] = outcome
            yield from ((LIPSYNC, item) for item in lip_items([self._with_landmarks(outcome)]))
        elif stage.name == LANDMARKS.name:
            self.judged.append((outcome, NOT_SCORED))
        elif stage.name == LIPSYNC.name:
            self.judged.append((self.marked.pop(outcome.id), outcome.row))
        elif stage.name == ENCODERS.name:
            self.encoders = encoder_files(outcome)
        if self.encoders:
            ready, self.judged = self.judged, []
            good = [self._with_landmarks(marked) for marked, lips in ready if self._is_good(marked, lips)]
            yield from ((LATENTS, item) for item in latent_items(good, self.encoders))

    def _with_landmarks(self, marked: Outcome[LandmarkRow]) -> Clip:
        clip = self.clips[marked.id]
        return Clip(clip.record, {**clip.files, "landmarks": marked.ref("landmarks.parquet")})

    def _is_good(self, marked: Outcome[LandmarkRow], lips: LipSyncRow) -> bool:
        row = scored_clip(self.clips[marked.id], marked.row, lips)
        (verdict,) = decided(screen([row], self.recipe.screening), self.decisions)
        return verdict.kept


def clips_ahead(run: Run, training: Run | None, clips: Iterable[Clip]) -> ClipsAhead | None:
    """The plan for a run that goes on to `training`, if it does; None where nothing can be done before screening.

    A fitted autoencoder is made of the clips that screening keeps of all. Where the split leaves subjects out most
    clips may never be encoded, and which is known when all are there.
    """
    recipe, stages = (training or run).recipe, list[AnyStage]()
    if recipe.lip_sync.weights is not None:
        stages.append(LIPSYNC)
    if training is not None and recipe.autoencoder.path is not None and recipe.split.subjects is None:
        stages += [ENCODERS, LATENTS]
    names = [stage.name for stage in STAGES]
    last = len(names) if run.steps.last is None else names.index(run.steps.last)
    wanted = [stage for stage in stages if names.index(stage.name) <= last]
    if not wanted or wanted == [ENCODERS] or {stage.name for stage in wanted} & set(run.steps.force):
        return None
    return ClipsAhead(training or run, clips, wanted)
