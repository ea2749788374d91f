"""The mesh warp of a bench: a method made by simple means, beside which others are scored. One stage.

It reads what a model reads, the portrait and the driver's landmarks, and its results cover their portraits pixel by
pixel.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fye_model.animation.mesh_warp import mesh_warp, relative_points
from fye_model.config import Config
from fye_model.landmarks.smoothing import smooth_sequence
from fye_model.landmarks.table import read_landmarks
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Nothing, Quarantine
from tasks.engine.stage import Context, Stage
from tasks.faces.follow import build_sequence, load_geometry
from tasks.faces.landmarker import LANDMARK_TOOLS
from tasks.faces.worker import FaceWorker
from tasks.media.pictures import read_picture
from tasks.media.read import write_video

_CRF = 12


class WarpRow(Config):
    """How many frames were made. warped: the portrait has a face; without one it is repeated."""

    frames: int
    warped: bool


class WarpWorker(FaceWorker[Nothing, WarpRow]):
    """Writes a pair's result.mp4."""

    def __init__(self, settings: Nothing, context: Context) -> None:
        super().__init__(context)
        self.geometry = load_geometry(self.asset)

    def process(self, item: Given[Nothing]) -> WarpRow:
        """`portrait` bent by `landmarks` of its driver. Raises `Quarantine` (not_warped) for one without any face."""
        picture = np.asarray(read_picture(item.files["portrait"]))
        height, width = picture.shape[:2]
        driver = smooth_sequence(read_landmarks(item.files["landmarks"]), "one_euro")
        found = self.landmarker.detect(picture)
        if found:
            terms = (np.zeros(1), 1.0, width, height, self.asset.model, self.geometry)
            reference = build_sequence([found[0]], *terms, max_gap_frames=0)
            try:
                targets = relative_points(driver, reference)
            except ValueError as error:
                raise Quarantine("not_warped", str(error)) from error
            frames = mesh_warp(picture, reference.pixels()[0].astype(np.float64), targets)
        else:
            frames = _repeated(picture, len(driver))
        count = write_video(item.out / "result.mp4", frames, driver.fps, _CRF)
        return WarpRow(frames=count, warped=bool(found))


def _repeated(picture: np.ndarray, count: int) -> Iterator[np.ndarray]:
    for _ in range(count):
        yield picture


WARP = Stage(
    "bench_warp",
    "3",
    settings=lambda recipe: Nothing(),
    reads={"portrait": Kind.PORTRAIT, "landmarks": Kind.LANDMARKS},
    writes={"result.mp4": Kind.RESULT},
    row=WarpRow,
    open=WarpWorker,
    resources=Resources(memory_gib=1.5),
    tools=(*LANDMARK_TOOLS, "av", "scipy", "scikit-image"),
    uses_landmarker=True,
)
