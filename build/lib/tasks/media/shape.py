"""From a decoded frame to the one that is shown: upright, square pixels, even sides, 8 bits of limited range."""

from __future__ import annotations

from pathlib import Path

import av
from av.video.reformatter import VideoReformatter

from tasks.engine.items import Quarantine
from tasks.media.opening import printable
from tasks.media.planes import cut, oriented, resize
from tasks.media.read import VideoInfo
from tasks.media.write import BT709, LIMITED_RANGE

BT601 = 6  # as tagged; also how untagged video is read, here as in every FFmpeg reader
_UNTAGGED_OR_601 = (0, 2, 5, 6)
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_SMALLEST_SIDE = 2  # pixels: 4:2:0 has a colour for every two


class Shape:
    """Brings the frames of one video into form: one rescale at most, then an even cut, mirroring and quarter turns.

    `width`, `height`: of the result. `tone_mapped`: PQ or HLG where the video is HDR and was brought to the range of
    other video, else None. `colorspace`: of the result. Both are known once the first frame was seen. Raises
    `Quarantine` (too_small).
    """

    def __init__(self, path: Path, info: VideoInfo, max_side: int) -> None:
        scale = min(1.0, max_side / max(info.width, info.height))
        self.width, self.height = (int(round(side * scale, 3)) // 2 * 2 for side in (info.width, info.height))
        if min(self.width, self.height) < _SMALLEST_SIDE:
            raise Quarantine("too_small", f"{printable(path)}: {info.width}x{info.height} pixels are no picture")
        self.tone_mapped: str | None = None
        self.colorspace = BT709
        self._path, self._coded, self._orientation = path, info.coded_size, info.orientation
        exact = scale == 1.0 and sorted((info.width, info.height)) == sorted(info.coded_size)
        self._cut = (self.height, self.width) if info.orientation.swaps_sides else (self.width, self.height)
        # rescaled frames get their even size at once; others lose at most one row and one column
        self._scaled = info.coded_size if exact else self._cut
        self._convert = VideoReformatter()

    def begin(self, frame: av.VideoFrame) -> None:
        """Settle the colour space by the first frame."""
        self.colorspace = BT601 if frame.colorspace in _UNTAGGED_OR_601 and "rgb" not in frame.format.name else BT709
        self.tone_mapped = _HDR_TRANSFERS.get(frame.color_trc)

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame as yuv420p in its final form. Raises `Quarantine` (size_changes) for one of another aspect."""
        width, height = self._coded
        if abs(frame.width * height - frame.height * width) > 0.01 * width * frame.height:
            raise Quarantine(
                "size_changes",
                f"{printable(self._path)}: changes from {width}x{height} to {frame.width}x{frame.height} on the way; "
                "cut it in two there",
            )
        ready = (frame.width, frame.height) == self._scaled and frame.format.name == "yuv420p"
        same_colours = frame.colorspace == self.colorspace or (
            self.colorspace == BT601 and frame.colorspace in _UNTAGGED_OR_601
        )
        if not (ready and same_colours and frame.color_range != 2 and not self.tone_mapped):
            frame = resize(frame, *self._scaled, self._convert)
            to = {"dst_color_trc": BT709, "dst_color_primaries": BT709} if self.tone_mapped else {}
            frame = self._convert.reformat(
                frame, format="yuv420p", dst_colorspace=self.colorspace, dst_color_range=LIMITED_RANGE, **to
            )
        return oriented(cut(frame, 0, 0, *self._cut), self._orientation)
