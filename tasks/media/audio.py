"""Sound beside the frames: samples of any file from a given second on, as a lossless copy or an AAC track.

Every block of samples starts exactly where the picture does: what comes before is cut, what is missing is silence, so
no offset has to be carried from stage to stage.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from fye_model.files import whole_file
from tasks.media.opening import open_container

_USUAL_HZ = 48_000
_MOST_HZ = 655_350  # a copy without loss (FLAC) holds no more
_GAP_S = 0.02  # holes in the sound longer than this are filled with silence; shorter ones are jitter of timestamps
_TIMED = {"mp4", "matroska"}  # containers whose every packet keeps its time, wherever one enters
_BEFORE_S = (5.0, 1.0)  # how long before its first sample a span is entered, and at least: decoders run in


class NoSoundError(ValueError):
    """The file has no sound that can be decoded."""


class AudioSource:
    """Samples of the first sound stream of a file, in blocks (1, n * channels) int16, interleaved.

    `rate` in Hz; `layout` is mono or stereo (more channels are mixed down).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        context = self._open()
        self.rate = int(context.sample_rate)
        self.layout = "mono" if context.layout.nb_channels == 1 else "stereo"
        self.channels = 1 if self.layout == "mono" else 2

    def _open(self) -> Any:
        """Open the file at its start; returns the sound's codec."""
        self._container = open_container(self.path)
        streams = self._container.streams.audio
        context = streams[0].codec_context if streams else None
        if context is None or not 0 < context.sample_rate <= _MOST_HZ or not context.layout.nb_channels:
            self._container.close()
            raise NoSoundError(f"{self.path}: no sound, or none that can be decoded")
        context.thread_count = 1
        self._stream = streams[0]
        return context

    def close(self) -> None:
        self._container.close()

    def blocks(self, start_s: float, end_s: float | None = None) -> Iterator[np.ndarray]:
        """Samples from `start_s` to `end_s` of the file's clock; silence where it has none at the start or inside."""
        first = round(start_s * self.rate)
        last = None if end_s is None else round(end_s * self.rate)
        cursor = first  # absolute number of the next sample to give out
        for position, samples in self._from(first):
            if last is not None and cursor >= last:
                return
            begin = cursor if cursor > first and abs(position - cursor) < _GAP_S * self.rate else position
            if begin > cursor:
                end = begin if last is None else min(begin, last)
                for start in range(cursor, end, self.rate):  # a clock that jumps by hours asks for gigabytes of silence
                    yield np.zeros((1, min(self.rate, end - start) * self.channels), np.int16)
                cursor = end
            samples = samples[:, (cursor - begin) * self.channels :]
            if last is not None:
                samples = samples[:, : (last - cursor) * self.channels]
            if samples.size:
                yield samples
                cursor += samples.shape[1] // self.channels

    def _from(self, first: int) -> Iterator[tuple[int, np.ndarray]]:
        """As `_decoded`, entered shortly before sample `first` where the file leads there; else from its start."""
        early_s, least_s = _BEFORE_S
        if first <= early_s * self.rate or not _TIMED & set(self._container.format.name.split(",")):
            return self._decoded()
        with contextlib.suppress(av.error.FFmpegError):
            self._container.seek(round((first / self.rate - early_s) * av.time_base))
        decoded = self._decoded(first)
        entered = next(decoded, None)
        if entered is not None and entered[0] <= first - least_s * self.rate:
            return chain((entered,), decoded)
        self.close()
        self._open()
        return self._decoded()

    def _decoded(self, position: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """(absolute sample number by timestamp, samples). Damaged packets are passed over: they become silence.

        position: of samples before the first timestamp.
        """
        resampler = av.AudioResampler(format="s16", layout=self.layout, rate=self.rate)
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
                frames = packet.decode()
            except (StopIteration, av.error.EOFError):
                return
            except av.error.FFmpegError as error:
                if error.errno == errno.EIO:  # the disk's fault, not the file's
                    raise
                continue
            for frame in frames:
                if frame.pts is not None and frame.time_base is not None:
                    position = round(frame.pts * frame.time_base * self.rate)
                frame.pts = None  # time is kept here; the resampler has none of its own to mix in
                for block in resampler.resample(frame):
                    samples = block.to_ndarray()
                    yield position, samples
                    position += samples.shape[1] // self.channels


class SpanSound:
    """The sound of a span, given out piece by piece as its pictures come.

    start_s, end_s: of the file's clock; to its end without `end_s`. Raises `NoSoundError`.
    """

    def __init__(self, path: Path, start_s: float, end_s: float | None = None) -> None:
        self.source = AudioSource(path)
        self._blocks = self.source.blocks(start_s, end_s)
        self._rest = np.zeros((1, 0), np.int16)
        self._given = 0  # samples of each channel

    def until(self, end_s: float) -> np.ndarray:
        """The samples (1, n * channels) int16 not yet given out, up to `end_s` seconds after the span's start; fewer
        where the sound ends earlier."""
        wanted = (round(end_s * self.source.rate) - self._given) * self.source.channels
        while self._rest.shape[1] < wanted and (block := next(self._blocks, None)) is not None:
            self._rest = np.concatenate([self._rest, block], axis=1)
        now, self._rest = self._rest[:, :wanted], self._rest[:, wanted:]
        self._given += now.shape[1] // self.source.channels
        return now

    def is_silent(self) -> bool:
        """Whether there is no sound at all in what is left of the span."""
        while not self._rest.size and (block := next(self._blocks, None)) is not None:
            self._rest = block
        return not self._rest.size

    def close(self) -> None:
        self.source.close()


class SoundTrack:
    """A sound track of an open file, for samples of the form that `source` has.

    codec: `aac` at the sound's own rate where it knows that one, or `libopus`; else at 48 kHz.
    """

    def __init__(self, container: Any, source: AudioSource, codec: str = "aac") -> None:
        self._container, self._source = container, source
        known = codec == "aac" and source.rate in (av.Codec(codec, "w").audio_rates or ())
        self._stream = container.add_stream(codec, rate=source.rate if known else _USUAL_HZ, layout=source.layout)
        self._written = 0

    def write(self, samples: np.ndarray) -> None:
        """Encode samples (1, n * channels) int16 behind those before."""
        if not samples.size:
            return
        frame = _audio_frame(samples, self._source, self._written)
        self._written += frame.samples
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))


class AudioTrack(SoundTrack):
    """A sound track with the sound of another file, filled as the pictures come so that the file is interleaved."""

    def __init__(self, container: Any, path: Path, start_s: float, codec: str = "aac") -> None:
        self._sound = SpanSound(path, start_s)
        super().__init__(container, self._sound.source, codec)

    def write_until(self, end_s: float) -> None:
        """Encode samples up to `end_s` seconds of the new file; nothing is added when the sound ends earlier."""
        self.write(self._sound.until(end_s))

    def close(self) -> None:
        self._sound.close()


def read_mono(path: Path, rate_hz: int, seconds: float) -> np.ndarray:
    """The first `seconds` of a file's sound in one channel at another rate: (n,) int16, shorter where it ends earlier.

    Raises `NoSoundError` where there is none.
    """
    sound = AudioSource(path)
    try:
        convert = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
        position, found = 0, [np.zeros(0, np.int16)]
        for block in sound.blocks(0.0, seconds):
            frame = _audio_frame(block, sound, position)
            position += frame.samples
            found += [part.to_ndarray()[0] for part in convert.resample(frame)]
        if position:
            found += [part.to_ndarray()[0] for part in convert.resample(None)]
        return np.concatenate(found)[: round(seconds * rate_hz)]
    finally:
        sound.close()


def write_audio(source: Path, path: Path, start_s: float, end_s: float) -> int:
    """Copy the sound of `source` between two seconds of its clock to a FLAC file, losslessly.

    Sample 0 of the copy sounds at `start_s`. Returns the samples written; with no sound in that span there is no file.
    """
    sound = AudioSource(source)
    try:
        blocks = sound.blocks(start_s, end_s)
        first = next(blocks, None)
        if first is None:
            return 0
        written = 0
        with whole_file(path) as temporary, av.open(f"file:{temporary}", "w", format="flac") as container:
            stream = container.add_stream("flac", rate=sound.rate, layout=sound.layout)
            for block in chain((first,), blocks):
                frame = _audio_frame(block, sound, written)
                written += frame.samples
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return written
    finally:
        sound.close()


def _audio_frame(samples: np.ndarray, source: AudioSource, position: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16", layout=source.layout)
    frame.sample_rate, frame.pts, frame.time_base = source.rate, position, Fraction(1, source.rate)
    return frame
