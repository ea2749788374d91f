"""First stage: source videos become square clips of one face each, cut from the source itself.

First pass over a source, as a player shows it at a constant rate (`tasks/media/shown.py`): its damage is counted, scene
cuts are looked for on every frame, faces on every `detect_stride`-th (`tasks/faces/scan.py`). Second pass: each track's
span is cut, cropped to a square around the face and resized once, in YUV, with its sound. The frames of a short source
are held between the two; a longer one is decoded a second time. No other copy of the pictures is made on the way.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fye_model.config import ClipConfig, Config, FootageConfig, Recipe
from fye_model.landmarks.boxes import PixelBox, Square, face_square
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Item, Quarantine, StageResult
from tasks.engine.stage import Context, Stage
from tasks.engine.store import FileRef, digest
from tasks.faces.landmarker import LANDMARK_TOOLS
from tasks.faces.lost import LostPictures
from tasks.faces.scan import Scan, scan_video
from tasks.faces.tracks import Track, link, pieces, select
from tasks.faces.turned import LOOKS, turned_faces
from tasks.faces.worker import FaceWorker
from tasks.media.audio import SpanSound
from tasks.media.cutting import CutForm, Cutting, cut_squares
from tasks.media.opening import printable
from tasks.media.read import to_rgb
from tasks.media.shown import ShownVideo, ShowSettings
from tasks.media.span import (
    FrameFolderFacts,
    SpanFacts,
    TakenSpan,
    held_frames,
    judge,
    open_sound,
    show_settings,
    taken_span,
)
from tasks.workspace.dataset import Clip, ClipRecord
from tasks.workspace.sources import Source

_MOST_FACES = 4  # tracked at one time
_FRAMES_SCHEMA = "1"


class CutSettings(Config):
    """How sources are taken, and how clips are cut out of them."""

    ingest: FootageConfig = FootageConfig()
    clips: ClipConfig = ClipConfig()

    @classmethod
    def of(cls, recipe: Recipe) -> CutSettings:
        """Without what only a normalised copy depends on."""
        taken = recipe.ingest.model_dump(include=set(FootageConfig.model_fields))
        return cls(ingest=FootageConfig.model_validate(taken), clips=recipe.clips)


class CutClip(Config):
    """One clip: its folder is `index` in three digits; `start` and `end` are its span of the source, in frames as it is
    shown: at `fps`, from the first one taken."""

    index: int
    frames: int
    fps: float
    start: int
    end: int
    affine: tuple[float, float, float, float, float, float]  # row by row, from clip to shown pixels
    box: tuple[float, float, float, float]  # of the face over the span, pixels of the source as shown
    padded: float  # share of the crop outside the picture
    faces_seen: int  # at most, at one time


class RejectedTrack(Config):
    """A face track, or a part of one, that became no clip; frames and pixels of the source as it is shown."""

    reason: str
    start: int
    end: int
    frames: int
    box: tuple[float, float, float, float]


class ClipsRow(Config):
    """What one source holds, what was cut out of it, and what was not. lost/000.jpg … show `rejected`, in order."""

    source: TakenSpan
    clips: tuple[CutClip, ...]
    rejected: tuple[RejectedTrack, ...]


class ClipWorker(FaceWorker[SpanFacts, ClipsRow]):
    """Cuts clips out of one source after another, with one face detector for all."""

    def __init__(self, settings: CutSettings, context: Context) -> None:
        super().__init__(context, _MOST_FACES, points_only=True)
        self.settings = settings

    def process(self, item: Given[SpanFacts]) -> ClipsRow:
        """Write a folder 000, 001 … for each clip of `source`: clip.mp4 and frames.parquet. Raises `Quarantine`."""
        source = item.files["source"]
        how = show_settings(source, self.settings.ingest, item.facts)
        try:
            return self._cut(source, how, item.name, item.out)
        except Quarantine as error:  # messages must not depend on where the file lies
            advice = ", or raise ingest.max_hold_s" if error.reason == "time_gap" else ""
            message = error.message.replace(printable(source), item.name) + advice
            raise Quarantine(error.reason, message, error.found) from None

    def _cut(self, source: Path, how: ShowSettings, name: str, out: Path) -> ClipsRow:
        with ExitStack() as opened:
            with ShownVideo(source, how) as shown:
                scan = scan_video(shown, self.landmarker, self.settings.clips)
                judge(shown, scan.times, self.settings.ingest.max_corrupt_fraction)
                sound, problem = open_sound(shown, scan.times)
                if sound is not None:
                    opened.callback(sound.close)
                taken = taken_span(shown, scan.times, sound is not None, problem)
            frames = opened.enter_context(closing(_frames(source, how, scan)))
            try:
                return write_clips(frames, scan, taken, sound, self.settings.clips, name, out)
            except Quarantine as error:
                lies = turned_faces(self.landmarker, _spread(frames, scan.frames))
                raise Quarantine(error.reason, error.message + (f"; {lies}" if lies else ""), error.found) from None


def _frames(source: Path, how: ShowSettings, scan: Scan) -> Generator[av.VideoFrame]:
    """The frames of a scanned source once more, decoded anew where they are not held."""
    if scan.held is not None:
        yield from scan.held
        return
    with ShownVideo(source, how) as shown:
        for _, frame in shown.frames():
            yield frame


def _spread(frames: Iterable[av.VideoFrame], count: int) -> list[np.ndarray]:
    """Some of a video's frames, as pictures."""
    chosen = set(np.linspace(0, count - 1, LOOKS).round().astype(int).tolist())
    return [to_rgb(frame) for number, frame in enumerate(frames) if number in chosen]


@dataclass(frozen=True)
class _Piece:
    """A part of a track that becomes a clip."""

    track: Track
    start: int
    stop: int
    box: PixelBox
    square: Square


def write_clips(
    frames: Iterable[av.VideoFrame],
    scan: Scan,
    taken: TakenSpan,
    sound: SpanSound | None,
    config: ClipConfig,
    name: str,
    out: Path,
) -> ClipsRow:
    """Cut, crop and write the clips of a scanned video, whose frames come once more."""
    tracks = link(scan.looks, scan.cuts, config.max_gap_frames)
    if not tracks:
        raise Quarantine(
            "no_face",
            f"{name}: no face in {len(scan.looks)} frames looked at, of {scan.frames}; faces below about 5% of the "
            "longer side, animals and drawings are often not found",
            ClipsRow(source=taken, clips=(), rejected=()),
        )
    chosen, rejected = _choose(tracks, scan, config)
    if not chosen:
        longest = max(track.length for track in tracks)
        raise Quarantine(
            "too_short",
            f"{name}: the longest of {len(tracks)} face tracks has {longest} frames, clips.min_frames is "
            f"{config.min_frames}; scene cuts at frames {scan.cuts[:20] or 'none'}",
            ClipsRow(source=taken, clips=(), rejected=tuple(rejected)),
        )
    lost = LostPictures(out / "lost")
    for entry in rejected:
        lost.add(entry.start, entry.end, entry.box)
    cuttings = []
    for index, piece in enumerate(chosen):
        folder = out / f"{index:03d}"
        folder.mkdir()
        cuttings.append(Cutting(piece.start, piece.stop, piece.square, folder / "clip.mp4"))
        _write_frames(scan.times, piece.start, piece.stop, folder / "frames.parquet")
    form = CutForm(config.size, scan.fps, config.crf, scan.colorspace)
    cut_squares(frames, cuttings, form, sound, lost.see, lost.until)
    lost.write()
    clips = tuple(_clip(index, piece, scan, config.size) for index, piece in enumerate(chosen))
    return ClipsRow(source=taken, clips=clips, rejected=tuple(rejected))


def _choose(tracks: Sequence[Track], scan: Scan, config: ClipConfig) -> tuple[list[_Piece], list[RejectedTrack]]:
    """The parts of tracks that become clips, and those that do not."""
    kept, others = select(tracks, config.faces, config.min_frames)
    rejected = [_rejection(track, track.start, track.stop, reason) for track, reason in others]
    chosen: list[_Piece] = []
    for track in kept:
        spans, left_over = pieces(track.start, track.stop, config.min_frames, config.max_frames)
        if left_over[0] < left_over[1]:
            rejected.append(_rejection(track, *left_over, "too_short"))
        for start, stop in spans:
            box = track.union(start, stop)
            square = face_square(box, scan.width, scan.height, config.margin)
            chosen.append(_Piece(track, start, stop, box, square))
    return chosen, rejected


def _clip(index: int, piece: _Piece, scan: Scan, size: int) -> CutClip:
    left, top, side = piece.square.left, piece.square.top, piece.square.side
    scale = side / size
    inside = _length_inside(left, side, scan.width) * _length_inside(top, side, scan.height)
    return CutClip(
        index=index,
        frames=piece.stop - piece.start,
        fps=scan.fps,
        start=piece.start,
        end=piece.stop,
        affine=(scale, 0.0, float(left), 0.0, scale, float(top)),
        box=_rounded(piece.box),
        padded=round(1 - inside / side**2, 4),
        faces_seen=max(len(look.boxes) for look in scan.looks if piece.start <= look.frame < piece.stop),
    )


def _write_frames(times: Sequence[float], start: int, stop: int, path: Path) -> None:
    """frames.parquet of a clip: each frame's time on the source's clock, whether it repeats the one before it because
    the source has none for this instant, and its number in the source as shown."""
    columns = {
        "time_s": pa.array(times[start:stop], pa.float64()),
        "held": pa.array(held_frames(times)[start:stop], pa.bool_()),
        "source_frame": pa.array(np.arange(start, stop), pa.int64()),
    }
    metadata = {"schema_version": _FRAMES_SCHEMA, "time_s": "seconds of the source's clock"}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)


def _rejection(track: Track, start: int, stop: int, reason: str) -> RejectedTrack:
    box = _rounded(track.union(start, stop))
    return RejectedTrack(reason=reason, start=start, end=stop, frames=stop - start, box=box)


def _rounded(box: PixelBox) -> tuple[float, float, float, float]:
    left, top, right, bottom = (round(value, 2) for value in box)
    return left, top, right, bottom


def _length_inside(start: int, length: int, size: int) -> int:
    return max(0, min(start + length, size) - max(start, 0))


def clip_items(sources: Iterable[Source]) -> list[Item[SpanFacts]]:
    """The sources that can be taken as items, each with its span."""
    return [
        Item(
            id=source.id,
            name=source.name,
            inputs={"source": FileRef(source.path, source.sha256, source.size)},
            facts=_facts(source),
        )
        for source in sources
        if source.problem is None
    ]


def _facts(source: Source) -> SpanFacts:
    if source.fps is None:
        return SpanFacts(start_s=source.start_s, end_s=source.end_s)
    return FrameFolderFacts(start_s=source.start_s, end_s=source.end_s, fps=source.fps)


def clip_id(source: str, sha256: str) -> str:
    """A clip's id: made of its source's id and of its own bytes."""
    return digest([source, sha256])[:16]


def cut_clips(cut: StageResult[ClipsRow], sources: Iterable[Source]) -> list[Clip]:
    """Every clip that was cut, named after its source."""
    known = {source.id: source for source in sources if source.problem is None}
    clips = []
    for outcome in cut.done:
        for row in outcome.row.clips:
            folder = f"{row.index:03d}"
            files = {"video": outcome.ref(f"{folder}/clip.mp4"), "frames": outcome.ref(f"{folder}/frames.parquet")}
            record = ClipRecord(
                clip=clip_id(outcome.id, files["video"].sha256),
                name=f"{outcome.name}-{folder}",
                subject=known[outcome.id].subject,
                frames=row.frames,
            )
            clips.append(Clip(record, files, known[outcome.id]))
    return clips


CLIPS = Stage(
    "clips",
    "4",
    settings=CutSettings.of,
    reads={"source": Kind.SOURCE},
    writes={"*/clip.mp4": Kind.CLIP, "*/frames.parquet": Kind.FRAME_TIMES, "lost/*.jpg?": "pictures of lost tracks"},
    row=ClipsRow,
    open=ClipWorker,
    resources=Resources(memory_gib=1.5),
    tools=(*LANDMARK_TOOLS, "av", "pillow", "scenedetect"),
    uses_landmarker=True,
)
