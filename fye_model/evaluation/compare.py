"""A result beside its truth, frame by frame: what every metric of the table reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fye_model.evaluation.appearance import drift
from fye_model.evaluation.faces import FaceTrack
from fye_model.evaluation.metrics import picture_scores
from fye_model.evaluation.signals import read_signals
from fye_model.landmarks.masks import expression_mask, face_mask

FRONT_DEG, TURNED_DEG = 5.0, 8.0  # of yaw, to either side: within is from the front, beyond is turned


@dataclass(frozen=True)
class Truth:
    """The true frames (f, h, w, 3) uint8 and the faces detected in them; computed once for all methods."""

    frames: np.ndarray
    faces: FaceTrack

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or len(self.frames) == 0:
            raise ValueError(f"expected a stack of frames (f, h, w, 3), got {self.frames.shape}")
        if len(self.frames) != len(self.faces):
            raise ValueError(f"{len(self.frames)} frames need as many landmark entries, got {len(self.faces)}")

    @cached_property
    def signals(self) -> dict[str, np.ndarray]:
        """Every signal of the true faces, (f,) each."""
        return read_signals(self.faces)

    @property
    def front(self) -> np.ndarray:
        """Frames that show the face from the front: (f,) bool."""
        return np.asarray(np.abs(self.signals["yaw"]) < FRONT_DEG)

    @property
    def turned(self) -> np.ndarray:
        """Frames that show it turned, where others show it from the front: (f,) bool, none where none do."""
        return np.asarray((np.abs(self.signals["yaw"]) >= TURNED_DEG) & self.front.any())

    @cached_property
    def drift(self) -> np.ndarray:
        """How far each place of the turned face is from what it is from the front: (f, places), see `appearance.py`."""
        return drift(self.frames, self.faces, self.front, self.turned)

    @cached_property
    def masks(self) -> dict[str, np.ndarray]:
        """Where the expression is, where the face is, and the rest: (f, h, w) bool each; empty without a face."""
        height, width = self.frames.shape[1:3]
        expression = expression_mask(self.faces.pixels, height, width)
        face = face_mask(self.faces.pixels, height, width)
        rest = ~(expression | face) & self.faces.found[:, None, None]
        return {"expression": expression, "face": face, "rest": rest}


@dataclass(frozen=True)
class Comparison:
    """One method's result beside the truth, of one size and length.

    result: (f, h, w, 3) uint8; faces: detected anew in it. portrait: (h, w, 3) uint8, the picture that performs, for
    metrics that ask whether it is still there, and the face in it, a track of one frame; None where nobody gives them.
    """

    truth: Truth
    result: np.ndarray
    faces: FaceTrack
    portrait: np.ndarray | None = None
    portrait_faces: FaceTrack | None = None

    def __post_init__(self) -> None:
        if self.result.shape != self.truth.frames.shape:
            raise ValueError(
                f"expected two equal stacks of frames (f, h, w, 3), got {self.result.shape} and "
                f"{self.truth.frames.shape}"
            )
        if len(self.result) != len(self.faces):
            raise ValueError(f"{len(self.result)} frames need as many landmark entries, got {len(self.faces)}")

    def __len__(self) -> int:
        return len(self.result)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures in pixels."""
        height, width = self.result.shape[1:3]
        return int(height), int(width)

    @cached_property
    def signals(self) -> dict[str, np.ndarray]:
        """Every signal of the result's faces, (f,) each."""
        return read_signals(self.faces)

    @cached_property
    def drift(self) -> np.ndarray:
        """As the truth's, on the frames that show the true face turned and from the front: (f, places)."""
        return drift(self.result, self.faces, self.truth.front, self.truth.turned)

    @cached_property
    def picture_scores(self) -> dict[str, np.ndarray]:
        """L1, PSNR and SSIM of every frame, whole and inside each mask of the truth: (f,) each, by name."""
        masks = self.truth.masks
        rows = [
            picture_scores(result, truth, {name: mask[frame] for name, mask in masks.items()})
            for frame, (result, truth) in enumerate(zip(self.result, self.truth.frames, strict=True))
        ]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    @property
    def portrait_face(self) -> tuple[np.ndarray, FaceTrack] | None:
        """The portrait as a stack of one (1, h, w, 3) and the face in it; None where either is not known."""
        if self.portrait is None or self.portrait_faces is None or not self.portrait_faces.found.all():
            return None
        return self.portrait[None], self.portrait_faces

    @property
    def comparable(self) -> np.ndarray:
        """Frames whose truth has a face: (f,) bool."""
        return self.truth.faces.found

    @property
    def lost(self) -> np.ndarray:
        """Frames whose truth has a face and whose result has none: (f,) bool."""
        return np.asarray(self.truth.faces.found & ~self.faces.found)
