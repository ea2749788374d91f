"""A look at an animation before the long run: two seconds of it in few steps, and a strip that shows what is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fye_model.config import SamplingConfig, StepCacheConfig
from fye_model.files import whole_file
from tasks.animation.scene import Scene
from tasks.media.compose import pictures_in_a_row

PREVIEW_S = 2.0
STEPS = 6  # enough to see pose, crop and where the mouth goes; not skin
_COLUMNS = 5
_HEIGHT = 256  # pixels of a row of the strip


def preview_sampling(sampling: SamplingConfig) -> SamplingConfig:
    """The same settings with few steps computed; those between are continued where the strategy allows it."""
    if sampling.strategy == "overlap":
        return sampling.model_copy(update={"steps": min(STEPS, sampling.steps)})
    return sampling.model_copy(update={"step_cache": StepCacheConfig(computed_steps=STEPS)})


def liveliest(scene: Scene, seconds: float = PREVIEW_S) -> tuple[int, int]:
    """First frame and number of frames of the stretch in which the drawn points move most."""
    points = scene.performances[0].motion.points
    count = min(len(points), max(1, round(seconds * scene.driver.landmarks.fps)))
    moved = np.concatenate([[0.0], np.abs(np.diff(points, axis=0)).mean(axis=(1, 2))])
    total = np.concatenate([[0.0], np.cumsum(moved)])
    return int(np.argmax(total[count:] - total[:-count])), count


def strip(scene: Scene, frames: list[np.ndarray], drivers: list[np.ndarray]) -> np.ndarray:
    """Rows of five moments: driver, what is drawn on the portrait, result; (h, w, 3) uint8.

    frames: of the result, drivers: of the driver, both of the whole preview.
    """
    chosen = np.linspace(0, len(frames) - 1, min(_COLUMNS, len(frames))).round().astype(int)
    first = scene.performances[0]
    drawn = first.landmarks.pictures([int(index) for index in chosen])
    reference = np.asarray(first.reference)
    rows = [
        [drivers[index] for index in chosen],
        [_laid_over(reference, lines) for lines in drawn],
        [frames[index] for index in chosen],
    ]
    made = [pictures_in_a_row(row, _HEIGHT) for row in rows]
    width = max(row.shape[1] for row in made)
    return np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in made])


def _laid_over(picture: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Drawn landmarks on a darkened picture, so that one sees where they lie."""
    shown = picture * 0.6
    where = lines.any(axis=-1, keepdims=True)
    return np.where(where, lines, shown).astype(np.uint8)


def preview_paths(output: Path) -> tuple[Path, Path]:
    """Names of the preview's clip and strip beside the result's."""
    stem = output.with_suffix("")
    return stem.with_name(f"{stem.name}.preview.mp4"), stem.with_name(f"{stem.name}.preview.png")


def save_strip(picture: np.ndarray, path: Path) -> None:
    """Write the strip, whole or not at all."""
    with whole_file(path) as temporary:
        Image.fromarray(picture).save(temporary, format="png")
