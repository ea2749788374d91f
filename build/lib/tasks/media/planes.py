"""Cutting, turning and resizing frames in YUV 4:2:0, so that no frame goes through RGB on its way to another file.

Coordinates are those of the picture's area: pixel i covers [i, i + 1). Cuts have even corners and sides, which keeps
the two colour planes exactly aligned with the brightness plane.
"""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from tasks.media.orientation import Orientation


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Views of the planes of a yuv420p frame: (h, w), then twice (ceil(h/2), ceil(w/2)), uint8."""
    assert frame.format.name in ("yuv420p", "yuvj420p"), frame.format.name
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    ]


def from_planes(parts: list[np.ndarray], like: av.VideoFrame) -> av.VideoFrame:
    """A yuv420p frame from its three planes, in the colour space of `like`."""
    height, width = parts[0].shape
    frame = av.VideoFrame(width, height, "yuv420p")
    for target, part in zip(planes(frame), parts, strict=True):
        target[:] = part
    frame.colorspace, frame.color_range = like.colorspace, like.color_range
    return frame


def oriented(frame: av.VideoFrame, orientation: Orientation) -> av.VideoFrame:
    """The frame mirrored and turned as it is to be shown; sides must be even."""
    if orientation.upright:
        return frame
    return from_planes([orientation.shown(plane) for plane in planes(frame)], frame)


def cut(frame: av.VideoFrame, left: int, top: int, width: int, height: int) -> av.VideoFrame:
    """The part of a frame at (left, top), all four even; what lies outside is filled by reflection at the border."""
    assert not (left % 2 or top % 2 or width % 2 or height % 2), (left, top, width, height)
    if (left, top, width, height) == (0, 0, frame.width, frame.height):
        return frame
    halves = [(left, top, width, height)] + [(left // 2, top // 2, width // 2, height // 2)] * 2
    return from_planes([_part(plane, *box) for plane, box in zip(planes(frame), halves, strict=True)], frame)


def _part(plane: np.ndarray, left: int, top: int, width: int, height: int) -> np.ndarray:
    rows, columns = plane.shape
    if left >= 0 and top >= 0 and left + width <= columns and top + height <= rows:
        return plane[top : top + height, left : left + width]
    return plane[_reflected(top, height, rows)[:, None], _reflected(left, width, columns)]


def _reflected(start: int, length: int, size: int) -> np.ndarray:
    """Indices start .. start + length, those outside 0 .. size folded back at the edges, as often as needed."""
    folded = np.arange(start, start + length) % (2 * size)
    return np.where(folded < size, folded, 2 * size - 1 - folded)


def resize(frame: av.VideoFrame, width: int, height: int, convert: VideoReformatter) -> av.VideoFrame:
    """The frame at another size: a Lanczos filter, widened when shrinking, so that nothing aliases."""
    if (frame.width, frame.height) == (width, height):
        return frame
    return convert.reformat(frame, width=width, height=height, interpolation="LANCZOS")
