"""A look at the kept clips by models that no run needs: hands over the face, content that nobody wants to train on.

No stage: what it finds is written as a file of decisions, with the reason to each, which a person brings in or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fye_model.asset_files import find
from fye_model.assets import CONTENT_CLASSIFIER
from fye_model.files import write_json
from fye_model.landmarks.table import LandmarkSequence, read_landmarks
from fye_model.networks.classifier import PictureClassifier
from tasks.faces.hands import HandFinder, hand_model, over_face
from tasks.jobs.holdings import read_holdings
from tasks.media.read import read_frames
from tasks.survey.records import HeldClip, Holdings
from tasks.workspace.decisions import DECISIONS_SCHEMA, Decision, Decisions

EVERY_S = 1.0  # of a clip's frames, one is looked at so often
HANDS_MOST = 0.0  # of the frames looked at, those with a hand over the face


@dataclass(frozen=True)
class Wanted:
    """What is looked for. classifier: a folder; the asset's where it is None. labels: of what nobody wants.

    unwanted_most: the most that these labels may have together in any frame.
    """

    hands: bool = False
    unwanted: bool = False
    classifier: Path | None = None
    labels: tuple[str, ...] = ("nsfw",)
    unwanted_most: float = 0.5


@dataclass(frozen=True)
class Looked:
    """A clip, and what speaks against it: one sentence each, none where nothing does."""

    clip: HeldClip
    reasons: tuple[str, ...]


Look = Callable[[list[np.ndarray], list[np.ndarray | None]], str | None]  # pictures, faces in pixels -> a reason


def look(work: str, wanted: Wanted, output: Path) -> list[Looked]:
    """Look at every kept clip, once a second, and write what speaks against some as decisions to `output`.

    Raises ValueError where nothing is asked for, where a model is not at hand, and where no run has ended.
    """
    if not wanted.hands and not wanted.unwanted:
        raise ValueError("nothing to look for: give --hands, --unwanted, or both")
    with ExitStack() as opened:
        looks = list(_looks(wanted, opened))  # a missing model is told before anything is read
        holdings = read_holdings(work)
        found = [_look_at(holdings, clip, looks) for clip in holdings.kept]
    against = {
        one.clip.clip: Decision(keep=False, name=one.clip.name, note="; ".join(one.reasons))
        for one in found
        if one.reasons
    }
    record = Decisions(schema=DECISIONS_SCHEMA, decisions=against)
    write_json(output, record.model_dump(mode="json", by_alias=True))
    return found


def _looks(wanted: Wanted, opened: ExitStack) -> Iterator[Look]:
    if wanted.hands:
        yield _for_hands(opened.enter_context(HandFinder(hand_model())))
    if wanted.unwanted:
        folder = wanted.classifier or find(CONTENT_CLASSIFIER)
        if folder is None:
            raise ValueError(
                f"no classifier of content: get {CONTENT_CLASSIFIER.source}, put it at {CONTENT_CLASSIFIER.place} in a "
                "folder that FYE_ASSETS names, or give another as --classifier FOLDER"
            )
        yield _for_content(PictureClassifier(folder), folder, wanted)


def _for_hands(finder: HandFinder) -> Look:
    def look(pictures: list[np.ndarray], faces: list[np.ndarray | None]) -> str | None:
        pairs = [(picture, face) for picture, face in zip(pictures, faces, strict=True) if face is not None]
        covered = [
            any(over_face(hand, face, *picture.shape[:2]) for hand in finder.find(picture)) for picture, face in pairs
        ]
        if sum(covered) <= HANDS_MOST * len(covered):
            return None
        return f"a hand is over the face in {sum(covered)} of {len(covered)} frames looked at"

    return look


def _for_content(classifier: PictureClassifier, folder: Path, wanted: Wanted) -> Look:
    strange = sorted(set(wanted.labels) - set(classifier.labels))
    if strange:
        raise ValueError(
            f"{folder} knows no label {', '.join(strange)}; its labels are {', '.join(classifier.labels)}: give --label"
        )
    columns = [classifier.labels.index(label) for label in wanted.labels]

    def look(pictures: list[np.ndarray], faces: list[np.ndarray | None]) -> str | None:
        most = float(classifier.shares(pictures)[:, columns].sum(axis=1).max())
        if most <= wanted.unwanted_most:
            return None
        return f"{' or '.join(wanted.labels)} with {most:.2f} in a frame, more than {wanted.unwanted_most:g}"

    return look


def _look_at(holdings: Holdings, clip: HeldClip, looks: Iterable[Look]) -> Looked:
    sequence = read_landmarks(holdings.store.local_path(clip.landmarks))
    step = max(1, round(EVERY_S * clip.scores.fps))
    frames = list(range(min(step // 2, clip.frames - 1), clip.frames, step))
    pictures = list(read_frames(holdings.store.local_path(clip.video), frames))
    faces = [_face_px(sequence, frame) for frame in frames]
    reasons = [reason for look in looks if (reason := look(pictures, faces)) is not None]
    return Looked(clip, tuple(reasons))


def _face_px(sequence: LandmarkSequence, frame: int) -> np.ndarray | None:
    if not sequence.valid[frame]:
        return None
    return np.asarray(sequence.points[frame, :, :2] * (sequence.width, sequence.height))
