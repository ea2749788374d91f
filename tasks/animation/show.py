"""Finished squares as they are shown: alone or put back into the picture, and beside portrait and driver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from tasks.animation.scene import Scene
from tasks.media.compose import pictures_in_a_row
from tasks.media.moving import Moving


def shown(
    squares: Iterator[Sequence[np.ndarray]], scene: Scene, paste_back: bool, beside: bool, cut_out: bool = False
) -> Iterator[np.ndarray]:
    """Frames (h, w, 3) uint8 from the animated squares of all performances, a sequence of them for each frame.

    cut_out: the portrait has no background that would have to stand.
    """
    picture, first = np.asarray(scene.subject.picture), scene.performances[0]
    still = picture if paste_back else np.asarray(first.reference)
    drivers = driver_pictures(scene) if beside else None
    fps = scene.driver.landmarks.fps
    back = [performance.paste_back(fps, cut_out) for performance in scene.performances]
    for index, faces in enumerate(squares):
        frame = faces[0]
        if paste_back:
            frame = picture
            for put, square in zip(back, faces, strict=True):
                frame = put(frame, square, index)
        yield frame if drivers is None else pictures_in_a_row([still, next(drivers), frame], first.landmarks.height)


def driver_pictures(scene: Scene) -> Iterator[np.ndarray]:
    """What the driver shows in each frame: its pictures, or, of a stored table, what is drawn from it."""
    if scene.driver.moving is not None:
        return islice(_looked_at(scene.driver.moving), scene.start, scene.start + len(scene))
    landmarks = scene.performances[0].landmarks
    return (landmarks.pictures([frame])[0] for frame in range(len(landmarks)))


def _looked_at(moving: Moving) -> Iterator[np.ndarray]:
    """The driver's pictures as they were looked at, (h, w, 3) uint8."""
    with moving.open() as video:
        yield from (rgb for _, rgb in video.pictures())
