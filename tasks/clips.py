"""Second stage: normalised videos become square clips of one face each.

First pass over the video: scene cuts on every frame, faces on every `detect_stride`-th; where two successive looks
disagree (a face came, went or jumped) every frame between is looked at, so tracks end where the face does. Second
pass: each track's span is cut, cropped to a square around the face and resized once, in YUV, a frame at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from av.video.reformatter import VideoReformatter

from fye_model.config import ClipConfig, Config
from fye_model.landmarks.boxes import PixelBox, face_square
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import NOTHING, Given, Item, Nothing, Quarantine, StageResult
from tasks.engine.stage import Context, Stage
from tasks.engine.store import digest
from tasks.faces.detector import FaceLandmarker
from tasks.faces.landmarker import LANDMARK_TOOLS
from tasks.faces.tracks import Look, Track, link, pieces, select, steady
from tasks.faces.turned import LOOKS, turned_faces
from tasks.faces.worker import FaceWorker
from tasks.ingest import IngestRow
from tasks.media.planes import cut, resize
from tasks.media.read import VideoReader, VideoWriter, iter_constant_rate, read_frames, to_rgb
from tasks.workspace.dataset import Clip, ClipRecord
from tasks.workspace.sources import Source

_SCENE_SIDE = 160  # pixels of the longer side that cuts are detected on
_MOST_FACES = 4  # tracked at one time
_HELD_BYTES = 400 * 2**20  # of decoded frames: 40 s at 640x480, 11 s at 1280x720
_SEARCH_EVERY_S = 1.0  # a scene without a face is searched in tiles this often: that costs 20 detections


class CutClip(Config):
    """One clip: its folder is `index` in three digits; `start` and `end` are its span of video.mp4, in frames."""

    index: int
    frames: int
    fps: float
    start: int
    end: int
    affine: tuple[float, float, float, float, float, float]  # row by row, from clip to video.mp4 pixels
    box: tuple[float, float, float, float]  # of the face over the span, pixels of video.mp4
    padded: float  # share of the crop outside the picture
    faces_seen: int  # at most, at one time


class RejectedTrack(Config):
    """A face track, or a part of one, that became no clip; frames and pixels of video.mp4."""

    reason: str
    start: int
    end: int
    frames: int
    box: tuple[float, float, float, float]


class ClipsRow(Config):
    """What was cut out of one video, and what was not."""

    clips: tuple[CutClip, ...]
    rejected: tuple[RejectedTrack, ...]


class ClipWorker(FaceWorker[Nothing, ClipsRow]):
    """Cuts clips out of one video after another, with one face detector for all."""

    def __init__(self, settings: ClipConfig, context: Context) -> None:
        super().__init__(context, _MOST_FACES, points_only=True)
        self.config = settings

    def process(self, item: Given[Nothing]) -> ClipsRow:
        """Write a folder 000, 001 … for each clip of `video`: clip.mp4 and frames.parquet.

        Raises `Quarantine` (no_face, too_short).
        """
        video = item.files["video"]
        scan = scan_video(video, self.landmarker, self.config)
        times = pq.read_table(item.files["frames"])
        if times.num_rows != scan.frames:
            raise ValueError(
                f"{item.name}: video.mp4 holds {scan.frames} frames and frames.parquet {times.num_rows}; "
                "delete both, and the same command makes them anew"
            )
        try:
            return write_clips(video, item.files.get("audio"), times, scan, self.config, item.name, item.out)
        except Quarantine as error:
            chosen = np.linspace(0, scan.frames - 1, LOOKS).round().astype(int).tolist()
            lies = turned_faces(self.landmarker, list(read_frames(video, sorted(set(chosen)))))
            raise Quarantine(error.reason, error.message + (f"; {lies}" if lies else "")) from None


@dataclass(frozen=True)
class Scan:
    """What the first pass found: faces in the frames that were looked at, and the first frames of new scenes.

    held: the decoded frames of a short video, so that the second pass need not decode it again; None of a longer one.
    """

    looks: list[Look]
    cuts: list[int]
    frames: int
    fps: float
    width: int
    height: int
    held: list[av.VideoFrame] | None = None

    def decoded(self, video: Path, start: int, stop: int) -> Iterator[av.VideoFrame]:
        """Frames start .. stop, decoded anew where they are not held."""
        return iter_constant_rate(video, start, stop) if self.held is None else iter(self.held[start:stop])


def scan_video(video: Path, detector: FaceLandmarker, config: ClipConfig) -> Scan:
    """Decode a normalised video once: scene cuts, and faces where they are needed.

    Holds `detect_stride` frames of a long video, all of one that fits into `_HELD_BYTES`.
    """
    from scenedetect import FrameTimecode  # brings OpenCV, which nobody but the workers needs
    from scenedetect.detectors import ContentDetector

    scenes = ContentDetector(threshold=config.scene_threshold, min_scene_len=0)
    looker = _Looker(detector, config)
    cuts: list[int] = []
    with VideoReader(video) as reader:
        info = reader.info
        small = _scene_size(info.width, info.height)
        shrink = VideoReformatter()
        count = 0
        most_held = _HELD_BYTES // (info.width * info.height * 3 // 2)
        held: list[av.VideoFrame] | None = []
        for index, frame in enumerate(reader):
            if held is not None:
                held.append(frame)
                if len(held) > most_held:
                    held = None
            image = shrink.reformat(frame, width=small[0], height=small[1], format="bgr24", interpolation="AREA")
            is_cut = bool(scenes.process_frame(FrameTimecode(index, info.fps), image.to_ndarray()))
            if is_cut:
                cuts.append(index)
            looker.see(index, frame, is_cut, info.fps)
            count = index + 1
        looker.finish()
    return Scan(looker.looks, cuts, count, info.fps, info.width, info.height, held)


class _Looker:
    """Decides in which frames faces are searched, and keeps what was found, in order of frames."""

    def __init__(self, detector: FaceLandmarker, config: ClipConfig) -> None:
        self.looks: list[Look] = []
        self._detector, self._config = detector, config
        self._convert = VideoReformatter()
        self._waiting: list[tuple[int, av.VideoFrame]] = []  # decoded since the last look
        self._next_search = 0
        self._fps = 0.0

    def see(self, index: int, frame: av.VideoFrame, is_cut: bool, fps: float) -> None:
        if is_cut:
            self._look_at_last(fps)  # the scene's last frame
            self._next_search = index
        self._waiting.append((index, frame))
        self._fps = fps
        if is_cut or not self.looks or index - self.looks[-1].frame >= self._config.detect_stride:
            self._look_at_last(fps)

    def finish(self) -> None:
        if self._waiting:
            self._look_at_last(self._fps)

    def _look_at_last(self, fps: float) -> None:
        if not self._waiting:
            return
        *between, (index, frame) = self._waiting
        self._waiting = []
        before = self.looks[-1] if self.looks else None
        look = self._look(index, frame, before.boxes if before else (), fps)
        if before is not None and not steady(before.boxes, look.boxes):
            for i, skipped in between:
                self.looks.append(self._look(i, skipped, self.looks[-1].boxes or look.boxes, fps))
        self.looks.append(look)

    def _look(self, index: int, frame: av.VideoFrame, known: tuple[PixelBox, ...], fps: float) -> Look:
        image = to_rgb(frame, self._convert)
        height, width = image.shape[:2]
        if known:
            # more than one known face: a search around one of them would hide the others
            alone = len(known) == 1 or self._config.faces != "all"
            near = known[0].in_fractions(width, height) if alone else None
            faces = self._detector.detect_small(image, near)
        elif index >= self._next_search:
            faces = self._detector.detect_small(image)
        else:
            faces = self._detector.detect(image)
        if not faces and index >= self._next_search:
            self._next_search = index + max(1, round(_SEARCH_EVERY_S * fps))
        return Look(index, tuple(face.box.in_pixels(width, height) for face in faces))


def write_clips(
    video: Path, audio: Path | None, times: pa.Table, scan: Scan, config: ClipConfig, name: str, out: Path
) -> ClipsRow:
    """Cut, crop and write the clips of a scanned video."""
    tracks = link(scan.looks, scan.cuts, config.max_gap_frames)
    if not tracks:
        raise Quarantine(
            "no_face",
            f"{name}: no face in {len(scan.looks)} frames looked at, of {scan.frames}; faces below about 5% of the "
            "longer side, animals and drawings are often not found",
        )
    kept, others = select(tracks, config.faces, config.min_frames)
    rejected = [_rejection(track, track.start, track.stop, reason) for track, reason in others]
    clips: list[CutClip] = []
    for track in kept:
        spans, left_over = pieces(track.start, track.stop, config.min_frames, config.max_frames)
        if left_over[0] < left_over[1]:
            rejected.append(_rejection(track, *left_over, "too_short"))
        for start, stop in spans:
            folder = out / f"{len(clips):03d}"
            folder.mkdir()
            clips.append(_write_clip(len(clips), video, audio, track, start, stop, scan, config, folder / "clip.mp4"))
            _write_frames(times, start, stop, folder / "frames.parquet")
    if not clips:
        longest = max(track.length for track in tracks)
        raise Quarantine(
            "too_short",
            f"{name}: the longest of {len(tracks)} face tracks has {longest} frames, clips.min_frames is "
            f"{config.min_frames}; scene cuts at frames {scan.cuts[:20] or 'none'}",
        )
    return ClipsRow(clips=tuple(clips), rejected=tuple(rejected))


def _write_clip(
    index: int,
    video: Path,
    audio: Path | None,
    track: Track,
    start: int,
    stop: int,
    scan: Scan,
    config: ClipConfig,
    path: Path,
) -> CutClip:
    box = track.union(start, stop)
    square = face_square(box, scan.width, scan.height, config.margin)
    left, top, side = square.left, square.top, square.side
    convert = VideoReformatter()
    frames = scan.decoded(video, start, stop)
    first = next(frames)
    with VideoWriter(
        path,
        config.size,
        config.size,
        scan.fps,
        crf=config.crf,
        audio=audio,
        audio_start_s=start / scan.fps,
        colorspace=first.colorspace,
    ) as writer:
        for frame in chain((first,), frames):
            writer.write_frame(resize(cut(frame, left, top, side, side), config.size, config.size, convert))
    assert writer.frames == stop - start, (writer.frames, start, stop)  # the writer counts what is in the file
    scale = side / config.size
    inside = _length_inside(left, side, scan.width) * _length_inside(top, side, scan.height)
    return CutClip(
        index=index,
        frames=stop - start,
        fps=scan.fps,
        start=start,
        end=stop,
        affine=(scale, 0.0, float(left), 0.0, scale, float(top)),
        box=_rounded(box),
        padded=round(1 - inside / side**2, 4),
        faces_seen=max(len(look.boxes) for look in scan.looks if start <= look.frame < stop),
    )


def _write_frames(times: pa.Table, start: int, stop: int, path: Path) -> None:
    """frames.parquet of a clip: ingest's rows for its span, and `source_frame`, the frame of video.mp4."""
    numbers = pa.array(np.arange(start, stop), pa.int64())
    pq.write_table(times.slice(start, stop - start).append_column("source_frame", numbers), path)


def _rejection(track: Track, start: int, stop: int, reason: str) -> RejectedTrack:
    box = _rounded(track.union(start, stop))
    return RejectedTrack(reason=reason, start=start, end=stop, frames=stop - start, box=box)


def _rounded(box: PixelBox) -> tuple[float, float, float, float]:
    left, top, right, bottom = (round(value, 2) for value in box)
    return left, top, right, bottom


def _scene_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, _SCENE_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _length_inside(start: int, length: int, size: int) -> int:
    return max(0, min(start + length, size) - max(start, 0))


def clip_items(ingested: StageResult[IngestRow]) -> list[Item[Nothing]]:
    """Normalised videos as items."""
    return [
        Item(outcome.id, outcome.name, {Path(file).stem: outcome.ref(file) for file in sorted(outcome.files)}, NOTHING)
        for outcome in ingested.done
    ]


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
    "2",
    settings=lambda recipe: recipe.clips,
    reads={"video": Kind.VIDEO, "frames": Kind.FRAME_TIMES, "audio?": Kind.SOUND},
    writes={"*/clip.mp4": Kind.CLIP, "*/frames.parquet": Kind.FRAME_TIMES},
    row=ClipsRow,
    open=ClipWorker,
    resources=Resources(memory_gib=1.5),
    tools=(*LANDMARK_TOOLS, "av", "scenedetect"),
    uses_landmarker=True,
)
