"""A bench made of any pictures and videos: squares cut, faces looked for, tags read, pairs drawn. A job, no stage.

Written whole or not at all. A file that cannot be taken is put into rejected.csv with its reason and stops nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field

from fye_model.animation.description import this_software
from fye_model.animation.portrait import cut_square, whole_square
from fye_model.config import ClipConfig, Config, Fraction, IngestConfig, Positive
from fye_model.evaluation.faces import Detection, FaceTrack
from fye_model.evaluation.tags import largest_angles, see, tags_of
from fye_model.evaluation.windows import moving_window
from fye_model.files import file_digest, whole_folder
from fye_model.landmarks.boxes import Square, face_square, union
from fye_model.landmarks.geometry import FaceGeometry
from tasks.bench.manifest import (
    MANIFEST,
    PROTOCOL,
    SCHEMA,
    Bench,
    DrivingRow,
    Header,
    PortraitRow,
    RejectedRow,
    read_bench,
    write_manifest,
)
from tasks.bench.offers import Offer, find_offers, unique_ids
from tasks.bench.pairs import DEFAULT_PAIRS, draw_pairs
from tasks.engine.items import Quarantine
from tasks.faces.detector import DetectedFace, FaceLandmarker
from tasks.faces.follow import FaceTracker, load_geometry
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.subject import MAX_PORTRAIT_SIDE
from tasks.footage.content import VIDEO_SUFFIXES
from tasks.media.normalise import normalise
from tasks.media.pictures import NoPictureError, read_picture
from tasks.media.read import iter_frames, probe, write_video
from tasks.results.pictures import save_png

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
_CRF = 10
_MOST_FPS = 30.0  # 150 frames in 5 s
_MOST_FACES = 8
_GAP_FRAMES = 5

Log = Callable[[str], None]
Seconds = Annotated[float, Field(gt=0)]


class BuildSettings(Config):
    """What decides a bench beside the files.

    pairs: cross pairs to draw; seed: of the drawing; seconds: of a driving video, those in which most moves within the
    first `search_seconds`; size: side of pictures and videos in pixels; margin: around a face, as a fraction of its
    box; min_detected: share of a driving video's frames that must show a face; min_seconds: shorter ones are not taken.
    """

    pairs: Positive = DEFAULT_PAIRS
    seed: int = 0
    seconds: Seconds = 5.0
    search_seconds: Seconds = 60.0
    size: Annotated[int, Field(ge=64, multiple_of=8)] = 512
    margin: Annotated[float, Field(ge=0)] = ClipConfig().margin
    min_detected: Fraction = 0.9
    min_seconds: Seconds = 1.0


def build_bench(
    portraits: Path,
    driving: Path,
    output: Path,
    settings: BuildSettings,
    asset: LandmarkerAsset,
    log: Log = print,
) -> Bench:
    """Make a bench in the folder `output`, which must not hold anything else than an older bench.

    Raises ValueError for folders without pictures or videos, for wrong lines of an about.csv, for an output that is no
    bench, and where not one portrait or not one driving video could be taken.
    """
    if output.exists() and (not output.is_dir() or (any(output.iterdir()) and not (output / MANIFEST).is_file())):
        raise ValueError(f"{output} exists and is no bench; give a new folder")
    pictures = find_offers(portraits, PICTURE_SUFFIXES, "pictures")
    videos = find_offers(driving, VIDEO_SUFFIXES, "videos")
    inside = [path for path in (portraits, driving) if path.resolve().is_relative_to(output.resolve())]
    if inside:
        raise ValueError(f"{inside[0]} lies in the output {output}, which is replaced as a whole; give another folder")
    with whole_folder(output) as folder, FaceLandmarker(asset.path, asset.model, _MOST_FACES) as landmarker:
        builder = _Builder(folder, settings, landmarker, load_geometry(asset), log)
        rows = builder.driving(videos)
        faces = builder.portraits(pictures) + builder.first_frames(rows)
        if not rows or all(row.frame_of for row in faces):
            what = "portrait" if rows else "driving video"
            told = "\n".join(f"  {row.source_file}: {row.reason}: {row.message}" for row in builder.rejected)
            raise ValueError(f"not one {what} could be taken, so there is no bench:\n{told}")
        pairs = draw_pairs(faces, rows, settings.pairs, settings.seed)
        header = Header(
            schema=SCHEMA,
            name=output.name,
            protocol=PROTOCOL,
            software=this_software(),
            landmark_model=asset.model,
            made=settings.model_dump(),
            files={},
        )
        tables: dict[str, Sequence[Config]] = {
            "portraits.csv": faces,
            "driving.csv": rows,
            "pairs.csv": pairs,
            "rejected.csv": builder.rejected,
        }
        write_manifest(folder, header, tables)
    return read_bench(output)


class _Builder:
    """Puts portraits and driving videos into a folder, and remembers what it could not take."""

    def __init__(
        self, folder: Path, settings: BuildSettings, landmarker: FaceLandmarker, geometry: FaceGeometry, log: Log
    ) -> None:
        self.folder, self.settings, self.log = folder, settings, log
        self.landmarker, self.geometry = landmarker, geometry
        self.rejected: list[RejectedRow] = []
        self._seen: dict[str, str] = {}  # sha256 -> name

    def portraits(self, offers: list[Offer]) -> list[PortraitRow]:
        """Every readable picture as a square around its largest face; the whole picture where no face is found."""
        ids = unique_ids(offer.name for offer in offers)
        rows = []
        for offer in offers:
            try:
                rows.append(self._portrait(offer, ids[offer.name]))
            except Quarantine as bad:
                self._reject("portrait", offer, bad)
        return rows

    def driving(self, offers: list[Offer]) -> list[DrivingRow]:
        """Every readable video with a face: the seconds in which most moves, as a square around the face."""
        ids = unique_ids(offer.name for offer in offers)
        rows = []
        for offer in offers:
            try:
                rows.append(self._video(offer, ids[offer.name]))
            except Quarantine as bad:
                self._reject("driving", offer, bad)
        return rows

    def first_frames(self, rows: list[DrivingRow]) -> list[PortraitRow]:
        """The first frame of each driving video as a portrait, for self reenactment."""
        portraits = []
        for row in rows:
            first = next(iter_frames(self.folder / row.file, 0, 1))
            file = f"portraits/self.{row.id}.png"
            save_png(Image.fromarray(first), self.folder / file)
            portraits.append(
                PortraitRow(
                    id=f"self.{row.id}",
                    file=file,
                    style="real",
                    source=row.source,
                    licence=row.licence,
                    detectable=bool(self.landmarker.detect(first)),
                    size=row.size,
                    frame_of=row.id,
                    source_file=row.source_file,
                    source_sha256=row.source_sha256,
                    **{name: getattr(row, name) for name in ("left", "top", "side")},
                )
            )
        return portraits

    def _portrait(self, offer: Offer, name: str) -> PortraitRow:
        sha256 = self._digest(offer)
        try:
            picture = read_picture(offer.path, MAX_PORTRAIT_SIDE)
        except NoPictureError as error:
            raise Quarantine("not_a_picture", str(error)) from error
        faces = self.landmarker.detect_all(np.asarray(picture))
        square = whole_square(*picture.size)
        if faces:
            square = face_square(faces[0].box.in_pixels(*picture.size), *picture.size, self.settings.margin)
        cut = cut_square(picture, square, self.settings.size)
        file = f"portraits/{name}.png"
        save_png(cut, self.folder / file)
        detectable = bool(self.landmarker.detect(np.asarray(cut)))
        self.log(f"portrait {offer.name}: {'a face' if detectable else 'no face that the landmark model finds'}")
        return PortraitRow(
            id=name,
            file=file,
            style=offer.style,  # type: ignore[arg-type]  # checked by the record
            source=offer.source,
            licence=offer.licence,
            detectable=detectable,
            size=self.settings.size,
            frame_of="",
            source_file=offer.name,
            source_sha256=sha256,
            left=square.left,
            top=square.top,
            side=square.side,
        )

    def _video(self, offer: Offer, name: str) -> DrivingRow:
        sha256 = self._digest(offer)
        config = IngestConfig(
            fps=min(round(probe(offer.path).fps, 3), _MOST_FPS), max_seconds=self.settings.search_seconds, crf=_CRF
        )
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            video = Path(scratch) / "video.mp4"
            taken, _ = normalise(offer.path, video, config)
            faces = self._follow(video)
            width, height = taken.width, taken.height
            start, stop = self._window(offer, faces, width, height, config.fps)
            boxes = [face.box.in_pixels(width, height) for face in faces[start:stop] if face is not None]
            square = face_square(union(boxes), width, height, self.settings.margin)
            file = f"driving/{name}.mp4"
            write_video(self.folder / file, self._squares(video, square, start, stop), config.fps, _CRF)
        angles, tags, detected = self._look(self.folder / file)
        tags += tuple(tag for tag in offer.tags if tag not in tags)
        self.log(f"driving {offer.name}: {stop - start} frames, {', '.join(tags) or 'no tag'}")
        return DrivingRow(
            id=name,
            file=file,
            fps=config.fps,
            frames=stop - start,
            size=self.settings.size,
            tags=tags,
            source=offer.source,
            licence=offer.licence,
            detected=detected,
            pitch_deg=angles[0],
            yaw_deg=angles[1],
            roll_deg=angles[2],
            source_file=offer.name,
            source_sha256=sha256,
            start_s=round(taken.start_s + start / config.fps, 3),
            left=square.left,
            top=square.top,
            side=square.side,
        )

    def _follow(self, video: Path) -> list[DetectedFace | None]:
        tracker = FaceTracker(self.landmarker, _GAP_FRAMES)
        return [tracker.next(frame) for frame in iter_frames(video)]

    def _window(
        self, offer: Offer, faces: list[DetectedFace | None], width: int, height: int, fps: float
    ) -> tuple[int, int]:
        """The frames to take; Quarantine where no such stretch shows a face often enough."""
        settings = self.settings
        if not any(faces):
            raise Quarantine("no_face", f"{offer.path}: none of {len(faces)} frames shows a face")
        track = self._track(faces, width, height)
        start, stop = moving_window(track, 0, len(faces), round(settings.seconds * fps))
        if stop - start < max(2, round(settings.min_seconds * fps)):
            raise Quarantine(
                "too_short",
                f"{offer.path}: {stop - start} frames at {fps:g} a second; expected {settings.min_seconds:g} s or more",
            )
        share = track.found[start:stop].mean()
        if share < settings.min_detected:
            raise Quarantine(
                "face_lost",
                f"{offer.path}: {share:.0%} of frames {start} to {stop}, in which most moves, show a face; expected "
                f"{settings.min_detected:.0%}; cut the video where the face is seen",
            )
        return start, stop

    def _look(self, video: Path) -> tuple[tuple[float, float, float], tuple[str, ...], float]:
        """Largest angles, tags and share of frames with a face, of a video as it is stored."""
        faces = [found[0] if (found := self.landmarker.detect(frame)) else None for frame in iter_frames(video)]
        seen = see(self._track(faces, self.settings.size, self.settings.size))
        pitch, yaw, roll = (round(angle, 1) for angle in largest_angles(seen))
        share = sum(face is not None for face in faces) / len(faces)
        return (pitch, yaw, roll), tags_of(seen), round(share, 4)

    def _track(self, faces: list[DetectedFace | None], width: int, height: int) -> FaceTrack:
        found = [None if face is None else Detection(face.points, face.blendshapes) for face in faces]
        return FaceTrack.of(found, width, height, self.geometry, self.landmarker.has_blendshapes)

    def _squares(self, video: Path, square: Square, start: int, stop: int) -> Iterator[np.ndarray]:
        for frame in iter_frames(video, start, stop):
            yield np.asarray(cut_square(Image.fromarray(frame), square, self.settings.size))

    def _digest(self, offer: Offer) -> str:
        try:
            sha256 = file_digest(offer.path)
        except OSError as error:
            raise Quarantine("unreadable", f"{offer.path}: cannot be read: {error.strerror}") from error
        first = self._seen.setdefault(sha256, offer.name)
        if first != offer.name:
            raise Quarantine("duplicate", f"{offer.path} holds the same bytes as {first}; one of them is enough")
        return sha256

    def _reject(self, what: str, offer: Offer, bad: Quarantine) -> None:
        message = bad.message.replace(str(offer.path), offer.name)  # a bench names no place of the machine
        self.log(f"{what} {offer.name}: not taken: {bad.reason}: {message}")
        self.rejected.append(
            RejectedRow(what=what, source_file=offer.name, reason=bad.reason, message=message)  # type: ignore[arg-type]
        )
