"""What a work folder holds of a data set: its sources, its clips with their verdicts, and what was left out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.engine.store import Store
from tasks.faces.scores import ClipScores
from tasks.workspace.summary import FunnelStep, QuarantineRow


@dataclass(frozen=True)
class HeldSource:
    """A source that could be read; width, height and fps are the source's own. `clips`: that were cut from it.

    card, licence, place: as the last look at the sources told them, None where nothing is known.
    """

    source: str
    name: str
    seconds: float
    width: int
    height: int
    fps: float
    has_audio: bool
    clips: int
    card: str | None = None
    licence: str | None = None
    place: str | None = None


@dataclass(frozen=True)
class HeldClip:
    """A clip that has landmarks, what screening made of it, and where its files lie in the store.

    Frames per second are `scores.fps`. source, source_id: name and id of the video that it was cut from; several may
    share a name. take: what the recording is of by its name, `talking` or an expression, where its source has such
    names. recorded: the day or year that a table of footage gives its source, as the last look at the sources told it.
    face_px: height of the box around the face over the whole clip, in pixels of its source as shown. covered,
    lettering: signs of what lies over the face or on the picture (`tasks/faces/overlays.py`). sync_offset_s,
    sync_confidence: of the sound (above 0 it comes before the lips), None where nothing measured it.
    """

    clip: str
    name: str
    subject: str
    source: str
    source_id: str
    frames: int
    kept: bool
    by_hand: bool
    reasons: tuple[str, ...]
    face_px: float
    scores: ClipScores
    video: str
    landmarks: str
    masks: str
    take: str | None = None
    recorded: str | None = None
    covered: float | None = None
    lettering: float | None = None
    sync_offset_s: float | None = None
    sync_confidence: float | None = None

    @property
    def seconds(self) -> float:
        return self.frames / self.scores.fps


@dataclass(frozen=True)
class LostTrack:
    """A face that was followed and became no clip: frames of its source as shown, and `picture`, in the store."""

    source: str
    reason: str
    start: int
    end: int
    fps: float
    picture: str


@dataclass(frozen=True)
class Holdings:
    """What the last run of a work folder left of its data set.

    bytes_by_stage: of the files of its items. `set_aside`: everything that never became a clip with landmarks.
    """

    store: Store
    landmark_model: str
    recipe: str
    started: str
    sources: Sequence[HeldSource]
    clips: Sequence[HeldClip]
    tracks: Sequence[LostTrack]
    set_aside: Sequence[QuarantineRow]
    funnel: Sequence[FunnelStep]
    bytes_by_stage: Mapping[str, int]

    @property
    def kept(self) -> list[HeldClip]:
        return [clip for clip in self.clips if clip.kept]

    @property
    def subjects(self) -> list[str]:
        """Of the kept clips, in order of the alphabet."""
        return sorted({clip.subject for clip in self.kept})
