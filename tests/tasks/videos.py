"""Small videos of every kind, encoded on the spot: what tests of reading, spans and clips start from."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tasks.media.orientation import Orientation

CORNERS = {"top left": (200, 40, 40), "top right": (40, 180, 40), "bottom left": (40, 40, 200)}
LEVEL_STEP = 6
_ONE = 1 << 16
# (mirrored, quarter turns counter-clockwise) -> where a stored pixel's x and y go, as the file format writes it down
DISPLAY_MATRICES = {
    key: (a * _ONE, b * _ONE, 0, c * _ONE, d * _ONE, 0, 0, 0, 1 << 30)
    for key, (a, b, c, d) in {
        (False, 0): (1, 0, 0, 1),
        (False, 1): (0, -1, 1, 0),
        (False, 2): (-1, 0, 0, -1),
        (False, 3): (0, 1, -1, 0),
        (True, 0): (-1, 0, 0, 1),
        (True, 1): (0, 1, 1, 0),
        (True, 2): (1, 0, 0, -1),
        (True, 3): (0, -1, -1, 0),
    }.items()
}


def numbered(count: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Frames with three coloured corners; the fourth's grey level tells the frame's number (see `number_of`)."""
    images = []
    for i in range(count):
        image = np.empty((height, width, 3), np.uint8)
        image[: height // 2, : width // 2] = CORNERS["top left"]
        image[: height // 2, width // 2 :] = CORNERS["top right"]
        image[height // 2 :, : width // 2] = CORNERS["bottom left"]
        image[height // 2 :, width // 2 :] = 20 + LEVEL_STEP * (i % 38)
        images.append(image)
    return images


def number_of(image: np.ndarray) -> int:
    """Which frame of `numbered` an upright image is (modulo 38)."""
    height, width = image.shape[:2]
    level = image[height * 5 // 8 : height * 7 // 8, width * 5 // 8 : width * 7 // 8].mean()
    return round((level - 20) / LEVEL_STEP)


def corners(image: np.ndarray) -> dict[str, tuple[int, ...]]:
    """Mean colours of three corners."""
    height, width = image.shape[:2]
    rows = {"top": slice(height // 8, height * 3 // 8), "bottom": slice(height * 5 // 8, height * 7 // 8)}
    columns = {"left": slice(width // 8, width * 3 // 8), "right": slice(width * 5 // 8, width * 7 // 8)}
    found = {}
    for name in CORNERS:
        row, column = name.split()
        found[name] = tuple(int(v) for v in image[rows[row], columns[column]].mean(axis=(0, 1)).round())
    return found


def assert_upright(image: np.ndarray, tolerance: int = 8) -> None:
    """The coloured corners are where they belong and have their colours."""
    for name, colour in corners(image).items():
        assert np.abs(np.subtract(colour, CORNERS[name])).max() <= tolerance, (name, colour, CORNERS[name])


def encode(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times_ms: Sequence[int] | None = None,
    orientation: Orientation | None = None,
    pixel_aspect: Fraction | None = None,
    matrix: int | None = None,
    colour: dict[str, int] | None = None,
    sound: tuple[np.ndarray, float] | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """Encode frames at 25 a second or at given times, with every oddity that a real file may have.

    `orientation`: pictures are stored so that a display matrix brings them back to how they are given. `matrix`: colour
    matrix (1: BT.709, 5: BT.601).
    `sound`: mono float samples at 16 kHz and the second at which they start.
    """
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    frames = list(frames)
    if orientation is not None:
        frames = [np.ascontiguousarray(stored(image, orientation)) for image in frames]
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, 1000)
        for key, value in (colour or ({"colorspace": matrix} if matrix else {})).items():
            setattr(stream, key, value)
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if orientation is not None:
            stream.set_display_matrix(DISPLAY_MATRICES[orientation.mirrored, orientation.turns])
        audio = file.add_stream("aac", rate=16000, layout="mono") if sound is not None else None
        if audio is not None and sound is not None:
            samples, start_s = sound
            block = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
            block.sample_rate, block.time_base, block.pts = 16000, Fraction(1, 16000), round(start_s * 16000)
            file.mux([*audio.encode(block), *audio.encode(None)])
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            to: dict[str, Any] = {"dst_colorspace": matrix} if matrix else {}
            if (colour or {}).get("color_range") == 2:
                to["dst_color_range"] = 2
            frame = frame.reformat(format=pixels, **to)
            frame.pts, frame.time_base = times_ms[i] if times_ms else 40 * i, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def stored(image: np.ndarray, orientation: Orientation) -> np.ndarray:
    """The picture that is `image` once it was mirrored, where asked, and turned."""
    lying = np.rot90(image, -orientation.turns)
    return lying[:, ::-1] if orientation.mirrored else lying


def click(seconds: float, at_s: float) -> np.ndarray:
    """Silence with a short loud tone at one instant, 16 kHz."""
    samples = np.zeros(round(seconds * 16000), np.float32)
    start = round(at_s * 16000)
    samples[start : start + 400] = 0.9 * np.sin(np.arange(400) * 0.8)
    return samples


def click_time(path: Path) -> float:
    """Second of the file's clock at which its sound first gets loud."""
    with av.open(str(path)) as file:
        for block in file.decode(audio=0):
            samples = np.abs(block.to_ndarray().astype(float)).reshape(-1)
            loud = np.flatnonzero(samples > 0.3 * (1 if samples.max() <= 1.5 else 32767))
            if loud.size:
                return float(block.time) + loud[0] / block.sample_rate / block.layout.nb_channels
    raise AssertionError(f"no click in {path}")


def patched(path: Path, source: Path, old: bytes, new: bytes) -> Path:
    """A copy of a file with some bytes replaced everywhere."""
    content = source.read_bytes()
    assert old in content and len(old) == len(new)
    path.write_bytes(content.replace(old, new))
    return path


def claims_frames(path: Path, source: Path, count: int) -> Path:
    """A copy of an AVI whose header claims `count` frames."""
    content = bytearray(source.read_bytes())
    at = content.index(b"strh") + 8 + 32
    content[at : at + 4] = struct.pack("<I", count)
    path.write_bytes(content)
    return path


def faststart(path: Path, frames: Iterable[np.ndarray], **how: Any) -> Path:
    """An mp4 whose index comes first, so that a truncated copy still opens."""
    return encode(path, frames, container={"movflags": "faststart"}, **how)


def damage(path: Path, hit: Iterable[int]) -> Path:
    """Overwrite the second half of some of an mp4's coded frames with zeros, in place."""
    with av.open(str(path)) as file:
        index = [(entry.pos, entry.size) for entry in file.streams.video[0].index_entries]
    content = bytearray(path.read_bytes())
    for start, size in (index[i] for i in hit):
        content[start + size // 2 : start + size] = bytes(size - size // 2)
    path.write_bytes(content)
    return path
