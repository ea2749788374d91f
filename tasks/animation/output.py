"""Results in the form that their name asks for: mp4, WebM, GIF, WebP, or a folder of PNG pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from fye_model.config import Config
from fye_model.files import whole_file, whole_folder
from tasks.media.audio import AudioTrack, write_audio
from tasks.media.compose import even_sides
from tasks.media.opening import printable
from tasks.media.read import write_video
from tasks.media.write import as_bt709, say_colours

Codec = Literal["h264", "h265", "vp9"]
ENDINGS = (".mp4", ".webm", ".gif", ".webp", "")  # without one: a folder of PNG pictures
SILENT = (".gif", ".webp")
_WITH_ALPHA = (".webm", ".gif", ".webp", "")
_CODECS = {"h264": ".mp4", "h265": ".mp4", "vp9": ".webm"}
_ENCODERS = {"h265": "libx265", "vp9": "libvpx-vp9"}
_OPTIONS = {"h265": {"x265-params": "log-level=error"}, "vp9": {"b": "0"}}
_SOUND = {"h265": "aac", "vp9": "libopus"}
_CRF = {"h264": 16, "h265": 20, "vp9": 24}
_WEBP_QUALITY = 90
_OPAQUE = 128  # alpha from which a GIF's pixel, which knows no halves, is there


class Encoding(Config):
    """How a result is encoded.

    codec: of mp4 (h264, h265) and WebM (vp9), None: the usual one. quality: the encoder's constant rate factor, lower
    is better (0 to 51, of vp9 63); of WebP 0 to 100, higher is better; None: hardly to be told from lossless. alpha:
    keep the portrait's transparency, which moves with the head.
    """

    codec: Codec | None = None
    quality: int | None = None
    alpha: bool = False


def check_encoding(output: Path, encoding: Encoding) -> None:
    """Raise ValueError for a name and settings that no writer here can do."""
    ending = output.suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(
            f"output {printable(output)} does not end in .mp4, .webm, .gif or .webp; without an ending it is a "
            "folder of PNG pictures"
        )
    if encoding.codec is not None and _CODECS[encoding.codec] != ending:
        raise ValueError(f"codec {encoding.codec} goes into {_CODECS[encoding.codec]}, and the output is {output.name}")
    if encoding.alpha and ending not in _WITH_ALPHA:
        raise ValueError(f"{output.name}: mp4 has no transparency; give a .webm, .webp, .gif, or a folder's name")
    most = {".webp": 100, ".webm": 63, ".mp4": 51}.get(ending)
    if encoding.quality is not None:
        if most is None:
            raise ValueError(f"{output.name}: GIF and PNG have no quality to choose")
        if not 0 <= encoding.quality <= most:
            raise ValueError(f"quality {encoding.quality}: expected 0 to {most} for {ending}")
    if output.exists() and (output.is_dir() != (ending == "")):
        what = "is a folder" if output.is_dir() else "is a file"
        raise ValueError(f"output {printable(output)} {what}; give another name")
    if ending == "" and output.is_dir() and any(not _is_ours(entry) for entry in output.iterdir()):
        raise ValueError(f"output {printable(output)} is a folder that holds other things, which would be replaced")


class MeasuredFrames:
    """Frames (h, w, 3) on their way to the encoder, and how large they are, in pixels: 0 before the first one."""

    def __init__(self, frames: Iterable[np.ndarray]) -> None:
        self._frames = frames
        self.width = self.height = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in self._frames:
            self.height, self.width = frame.shape[:2]
            yield frame


def stored_side(output: Path, side: int) -> int:
    """A side of the frames as it is written: video has even ones."""
    return side + side % 2 if output.suffix.lower() in (".mp4", ".webm") else side


def write_result(
    output: Path,
    frames: Iterable[np.ndarray],
    fps: float,
    encoding: Encoding,
    sound: Path | None,
    sound_from_s: float,
) -> int:
    """Write frames (h, w, 3) uint8, or (h, w, 4) with their transparency, to `output`, whole or not at all, with sound
    where the form has any.

    Returns the number of frames. Raises ValueError for no frames, OSError when the disk is full.
    """
    ending = output.suffix.lower()
    pictures = iter(frames)
    if ending == "":
        return _write_pngs(output, pictures, fps, sound, sound_from_s)
    if ending in (".gif", ".webp"):
        return _write_moving_picture(output, pictures, fps, encoding)
    codec = encoding.codec or ("vp9" if ending == ".webm" else "h264")
    crf = _CRF[codec] if encoding.quality is None else encoding.quality
    if codec == "h264":
        start_s = sound_from_s if sound is not None else 0.0
        return write_video(output, map(even_sides, pictures), fps, crf, audio=sound, audio_start_s=start_s)
    return _write_encoded(output, map(even_sides, pictures), fps, codec, crf, sound, sound_from_s)


def _write_pngs(output: Path, pictures: Iterator[np.ndarray], fps: float, sound: Path | None, from_s: float) -> int:
    count = 0
    with whole_folder(output) as folder:
        for picture in pictures:
            Image.fromarray(picture).save(folder / f"{count:06d}.png", compress_level=3)
            count += 1
        if not count:
            raise ValueError(f"{output}: no frames to write")
        if sound is not None:
            write_audio(sound, folder / "sound.flac", from_s, from_s + count / fps)
    return count


def _is_ours(entry: Path) -> bool:
    return entry.name == "sound.flac" or (entry.suffix == ".png" and entry.stem.isdecimal())


def _write_moving_picture(output: Path, pictures: Iterator[np.ndarray], fps: float, encoding: Encoding) -> int:
    """GIF and WebP hold times of whole hundredths and thousandths of a second: rounded so that they do not add up."""
    gif = output.suffix.lower() == ".gif"
    images = [_paletted(picture) if gif else Image.fromarray(picture) for picture in pictures]
    if not images:
        raise ValueError(f"{output}: no frames to write")
    unit_ms = 10 if gif else 1
    ends = [round((index + 1) * 1000 / fps / unit_ms) * unit_ms for index in range(len(images))]
    times = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    how: dict[str, Any] = {"save_all": True, "append_images": images[1:], "duration": times, "loop": 0}
    if gif:
        how |= {"disposal": 2, "optimize": False}
    else:
        how |= {"quality": _WEBP_QUALITY if encoding.quality is None else encoding.quality, "method": 4}
    with whole_file(output) as temporary:
        images[0].save(temporary, format=output.suffix[1:].upper(), **how)
    return len(images)


def _paletted(picture: np.ndarray) -> Image.Image:
    """256 colours, with the last one for what is not there."""
    image = Image.fromarray(picture[..., :3]).quantize(255, method=Image.Quantize.MEDIANCUT)
    if picture.shape[2] == 4:
        image.paste(255, mask=Image.fromarray(((picture[..., 3] < _OPAQUE) * 255).astype(np.uint8)))
        image.info["transparency"] = 255
    return image


def _write_encoded(
    output: Path, pictures: Iterator[np.ndarray], fps: float, codec: str, crf: int, sound: Path | None, from_s: float
) -> int:
    first = next(pictures, None)
    if first is None:
        raise ValueError(f"{output}: no frames to write")
    height, width, channels = first.shape
    shape, stored = ("rgba", "yuva420p") if channels == 4 else ("rgb24", "yuv420p")
    kind = output.suffix[1:].lower()
    rate = Fraction(fps).limit_denominator(1001)
    count = 0
    convert = VideoReformatter()
    with ExitStack() as opened:
        temporary = opened.enter_context(whole_file(output))
        container = opened.enter_context(av.open(f"file:{temporary}", "w", format=kind))
        stream: Any = container.add_stream(_ENCODERS[codec], rate=rate, options={"crf": str(crf), **_OPTIONS[codec]})
        stream.width, stream.height, stream.pix_fmt = width, height, stored
        say_colours(stream)
        if codec == "h265":
            stream.codec_context.codec_tag = "hvc1"  # without it, players by Apple show nothing
        track = None
        if sound is not None:
            track = opened.enter_context(closing(AudioTrack(container, sound, from_s, _SOUND[codec])))
        for picture in chain((first,), pictures):
            frame = as_bt709(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=shape), convert, stored)
            frame.pts, frame.time_base = count, 1 / rate
            container.mux(stream.encode(frame))
            count += 1
            if track is not None:
                track.write_until(float(count / rate))
        container.mux(stream.encode(None))
        if track is not None:
            track.finish()
    return count
