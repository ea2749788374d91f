"""Hands found by MediaPipe's Hand Landmarker, where its file is at hand; and whether they are over a face."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from fye_model.asset_files import find, problem
from fye_model.assets import HAND_LANDMARKER
from fye_model.landmarks.masks import face_mask
from tasks.faces.mediapipe_graph import load_library
from tasks.faces.native import without_notices

_MOST_HANDS = 4


def hand_model() -> Path:
    """Where hand_landmarker.task lies. Raises ValueError that says how to get it where it is not there, or wrong."""
    path = find(HAND_LANDMARKER)
    if path is None:
        raise ValueError(
            f"no {HAND_LANDMARKER.place}, by which hands are found: get it from {HAND_LANDMARKER.source} and put it "
            "into a folder that FYE_ASSETS names"
        )
    if wrong := problem(HAND_LANDMARKER, path):
        raise ValueError(wrong)
    return path


class HandFinder:
    """Context manager around one hand landmarker."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._finder: Any = None

    def __enter__(self) -> Self:
        from mediapipe.tasks.python import BaseOptions, vision  # 2 s to import

        load_library()
        options = vision.HandLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self._path)),
            running_mode=vision.RunningMode.IMAGE,
            num_hands=_MOST_HANDS,
        )
        try:
            with without_notices():
                self._finder = vision.HandLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"{self._path}: not MediaPipe's hand landmarker ({str(error).splitlines()[0]}); "
                f"get it anew from {HAND_LANDMARKER.source}"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        finder, self._finder = self._finder, None
        if finder is not None:
            finder.close()

    def find(self, rgb: np.ndarray) -> list[np.ndarray]:
        """Points of every hand in a picture (h, w, 3) uint8, in pixels: (21, 2) each."""
        import mediapipe

        picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
        size = (rgb.shape[1], rgb.shape[0])
        found = self._finder.detect(picture).hand_landmarks
        return [np.array([(point.x, point.y) for point in hand]) * size for hand in found]


def over_face(hand_px: np.ndarray, face_px: np.ndarray, height: int, width: int) -> bool:
    """Whether any point of a hand (21, 2) lies within the outline of a face (478, 2 or 3)."""
    (inside,) = face_mask(face_px[None, :, :2], height, width)
    x, y = np.floor(hand_px).astype(int).T
    there = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return bool(inside[y[there], x[there]].any())
