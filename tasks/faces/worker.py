"""A stage's worker that looks for faces: one landmarker for all of its items, opened and closed with it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from tasks.engine.items import Facts, RowOut, Worker
from tasks.engine.stage import Context
from tasks.faces.detector import FaceLandmarker


class FaceWorker(Worker[Facts, RowOut]):
    """Holds `asset`, the run's landmark model, and `landmarker`, which finds at most `max_faces` in a frame.

    `points_only`: without blendshapes, which then cost nothing.
    """

    def __init__(self, context: Context, max_faces: int = 1, points_only: bool = False) -> None:
        self.asset = context.landmarker
        self.landmarker = FaceLandmarker(self.asset.path, self.asset.model, max_faces, points_only)

    def __enter__(self) -> Self:
        self.landmarker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.landmarker.close()
