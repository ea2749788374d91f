"""Pictures: any format that is read here, by content; and folders of frames, read in order as a video is."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from fye_model.animation.portrait import upright_rgb
from tasks.engine.items import Quarantine
from tasks.media.opening import open_regular, printable
from tasks.media.orientation import UPRIGHT
from tasks.media.read import VideoInfo

# none of those whose reading starts another program (EPS) or that any bytes may be taken for (TGA, ICO, MPEG)
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
MOST_PIXELS = 100_000_000  # of a picture: decoded they take 400 MB
_MOVING_HERE = ("WEBP", "AVIF")  # FFmpeg reads moving GIF and PNG; of these two it does not
_MILLISECOND = Fraction(1, 1000)
# what PIL's readers raise on files that are damaged or none of theirs
_PICTURE_ERRORS = (OSError, EOFError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError)


class NoPictureError(ValueError):
    """The file is no picture that can be read."""


@contextmanager
def open_picture(path: Path) -> Iterator[Any]:
    """A picture of any format, also HEIC, as PIL has it: not yet decoded, not yet turned.

    Raises `NoPictureError` for anything else, also for what is no file or too large to be held, and for damage that the
    block meets.
    """
    name = printable(path)
    try:
        handle = open_regular(path)
    except Quarantine as error:
        raise NoPictureError(error.message) from None
    with open(handle, "rb") as file:
        try:
            image = _identified(file)
        except _PICTURE_ERRORS as error:
            raise NoPictureError(
                f"{name}: not a readable picture ({_reason(error)}); give a PNG, JPEG, WebP or HEIC file"
            ) from error
        if image.width * image.height > MOST_PIXELS:
            megapixels = image.width * image.height / 1e6
            raise NoPictureError(
                f"{name}: {image.width} x {image.height} pixels ({megapixels:.0f} megapixels); give one of at most "
                f"{MOST_PIXELS / 1e6:.0f}"
            )
        try:
            yield image
        except _PICTURE_ERRORS as error:
            raise NoPictureError(f"{name}: a damaged picture ({_reason(error)}); fetch it again") from error


def read_picture(path: Path, max_side: int | None = None) -> Image.Image:
    """An upright RGB picture, decoded. Raises `NoPictureError`."""
    with open_picture(path) as image:
        return upright_rgb(image, max_side)


def is_still(path: Path) -> bool:
    """Whether a file is a single picture, by its content."""
    try:
        with open_picture(path) as image:
            return not _moves(image)
    except NoPictureError:
        return False


def read_as_pictures(path: Path) -> bool:
    """Whether a path is read as pictures: a folder, a still picture, or a moving one that FFmpeg does not decode."""
    if path.is_dir():
        return True
    try:
        with open_picture(path) as image:
            return not _moves(image) or image.format in _MOVING_HERE
    except NoPictureError:
        return False


def frame_files(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names, numbers in them by value (`f2` before `f10`).

    Hidden files and those that are no pictures are passed over. Raises `Quarantine` (no_frames, unreadable).
    """
    return pictures_of(folder)[0]


def pictures_of(folder: Path) -> tuple[list[Path], list[str]]:
    """What `frame_files` takes, and of each file that it passes over, but for hidden ones, why it is no picture."""
    try:
        names = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise Quarantine("unreadable", f"{printable(folder)}: cannot be read ({error.strerror})") from None
    frames, others = [], []
    for path in sorted(names, key=_by_numbers):
        try:
            with open_picture(path):
                frames.append(path)
        except NoPictureError as error:
            others.append(str(error))
    if not frames:
        holds = ", ".join(printable(Path(path.name)) for path in sorted(names)[:3]) or "nothing"
        raise Quarantine(
            "no_frames",
            f"{printable(folder)}: a folder without pictures (it holds {holds}); give a video, or a folder of frames",
        )
    return frames, others


class PictureReader:
    """Frames from pictures instead of a video: a folder of them, a still one, or a moving WebP or AVIF picture.

    fps: of a folder's frames; moving pictures bring their own times. The rest is as in `VideoReader`: pictures that
    cannot be decoded count as damage, and what follows them keeps its time.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path = Path(path)
        self.corrupt_frames = self.refused_packets = 0
        self._fps = fps
        self._files: Sequence[Path] = frame_files(path) if path.is_dir() else (path,)
        first = next(self._decoded(), None)
        if first is None:
            raise Quarantine("no_frames", f"{printable(path)}: none of {len(self._files)} pictures can be decoded")
        self.corrupt_frames = 0
        frame, kind = first
        self.info = VideoInfo(
            codec=kind.lower(),
            pixel_format="rgb24",
            width=frame.width,
            height=frame.height,
            coded_size=(frame.width, frame.height),
            fps=fps,
            frames=None,
            start_s=0.0,
            duration_s=None,
            orientation=UPRIGHT,
            has_audio=False,
            constant_rate=False,
        )

    def close(self) -> None:
        """Nothing stays open between two frames."""

    def __iter__(self) -> Iterator[av.VideoFrame]:
        for frame, _ in self._decoded():
            yield frame

    def packet_times(self) -> Iterator[float]:
        """Times of the frames in seconds; only moving pictures are decoded for it."""
        if len(self._files) > 1:
            yield from (float(self._time(index)) for index in range(len(self._files)))
            return
        for frame, _ in self._decoded():
            yield float(frame.pts * frame.time_base)

    def seek_time(self, time_s: float) -> None:
        """Pictures are decoded from the first on; who wants later ones leaves the others out."""

    def cut_off_frames(self) -> int:
        """A folder does not say how many frames it should hold."""
        return 0

    def promised_seconds(self) -> float | None:
        """As little as how long it should be."""
        return None

    def _decoded(self) -> Iterator[tuple[Any, str]]:
        if len(self._files) == 1:
            with open_picture(self._files[0]) as image:
                if _moves(image):
                    yield from self._moving(image)
                    return
        for index, file in enumerate(self._files):
            try:
                picture = read_picture(file)
            except NoPictureError:
                self.corrupt_frames += 1
                continue
            yield _frame(picture, self._time(index), None), file.suffix[1:]

    def _time(self, index: int) -> Fraction:
        return index / Fraction(self._fps).limit_denominator(1001)

    def _moving(self, image: Any) -> Iterator[tuple[Any, str]]:
        time = Fraction(0)
        for index in range(image.n_frames):
            try:
                image.seek(index)
                picture = upright_rgb(image)
            except _PICTURE_ERRORS:
                self.corrupt_frames += 1
                continue
            length = max(Fraction(image.info.get("duration", 0)), Fraction(10)) * _MILLISECOND
            yield _frame(picture, time, length), image.format
            time += length


def _frame(picture: Image.Image, time_s: Fraction, length_s: Fraction | None) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.asarray(picture), "rgb24")
    frame.time_base = Fraction(1, 90_000)
    frame.pts = round(time_s / frame.time_base)
    if length_s is not None:
        frame.duration = round(length_s / frame.time_base)
    return frame


def _identified(file: Any) -> Image.Image:
    import pillow_heif  # here alone: it brings a library of 10 MB

    pillow_heif.register_heif_opener()
    Image.init()
    with warnings.catch_warnings():  # about sizes, which are looked at here
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=[name for name in _FORMATS if name in Image.OPEN])


def _moves(image: Any) -> bool:
    return image.format in (*_MOVING_HERE, "GIF", "PNG") and getattr(image, "n_frames", 1) > 1


def _reason(error: Exception) -> str:
    text = str(error)
    return "it is none that is known" if "cannot identify" in text else text or type(error).__name__


def _by_numbers(path: Path) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
