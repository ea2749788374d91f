"""Footage in which a face is replaced: who is followed, what is made for which frames, and how it is put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from fye_model.animation.blend import ColourKeeper, head_mask, soft_mask, steady, with_detail
from fye_model.animation.description import ModelDescription
from fye_model.animation.driving import USUAL_FPS, Motion
from fye_model.animation.inputs import DrawnLandmarks
from fye_model.animation.onto import Head, at_times, calm_frame, carry_onto, following_squares, in_squares, spans_of
from fye_model.animation.portrait import Cut
from fye_model.animation.turn import Turn
from fye_model.config import SamplingConfig
from fye_model.easing import smoothstep
from fye_model.landmarks.boxes import Square
from fye_model.landmarks.smoothing import smooth_sequence
from fye_model.landmarks.table import LandmarkSequence
from tasks.animation.onto import FOOTAGE, OntoRequest
from tasks.animation.scene import Performance
from tasks.faces.detector import FaceLandmarker
from tasks.faces.driver import STILL_S, Driver, read_driver
from tasks.faces.follow import load_geometry
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.search import tilt_deg
from tasks.faces.subject import turn_deg
from tasks.media.moving import Moving
from tasks.media.opening import printable

Log = Callable[[str], None]
_MOST_FACES = 8
_MAX_SIDE = 3840  # pixels of the result; faces are looked for in smaller pictures
_EASE_S = 0.25  # in which the driver's expression sets in beside frames that stay as they are
_FADE_S = 0.12  # in which the made face comes and goes there


@dataclass(frozen=True)
class Footage:
    """All that the result is made from. footage: what is followed in it; reference_frame: where `reference` is from;
    made: (f,) frames that are made, squares and opacity (f,) of each; drawn, own: (f, 478, 2) pixels of the squares,
    NaN where nothing is made. without_face, without_driver: frames that stay as they are, and why."""

    footage: Driver
    moving: Moving
    driver: Driver
    reference_frame: int
    reference: Image.Image
    turn: Turn
    squares: list[Square | None]
    landmarks: DrawnLandmarks
    own: np.ndarray
    opacity: np.ndarray
    without_face: int
    without_driver: int
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.squares)

    @property
    def spans(self) -> list[slice]:
        """Runs of frames that are made."""
        return spans_of(self.made)

    @property
    def made(self) -> np.ndarray:
        found: np.ndarray = np.isfinite(self.own[:, 0, 0])
        return found

    def performance(self, span: slice) -> Performance:
        """What the model draws for one run of frames."""
        points = self.landmarks.points_px[span]
        square = self.squares[self.reference_frame]
        assert square is not None
        motion = Motion(points, np.zeros(len(points), bool), True)
        return Performance(Cut(self.turn, square), self.reference, motion, replace(self.landmarks, points_px=points))


def set_footage(
    request: OntoRequest, model: ModelDescription, asset: LandmarkerAsset, sampling: SamplingConfig, log: Log
) -> Footage:
    """Follow the person and the driver, and lay the expression of one onto the other.

    Raises ValueError for what cannot be read, shows no face, or not the one that was asked for.
    """
    geometry = load_geometry(asset)
    fps = request.frames_fps or model.fps or USUAL_FPS
    with FaceLandmarker(asset.path, asset.model, max_faces=_MOST_FACES) as landmarker:
        how = (landmarker, asset, model.max_gap_frames, fps)
        footage = read_driver(request.onto, *how, STILL_S, request.face, FOOTAGE)
        assert footage.moving is not None, "a table was refused: it has no pictures"
        length_s = len(footage.landmarks) / footage.landmarks.fps
        driver = read_driver(request.driving, *how, length_s, request.driver_face)
    names = printable(request.onto), printable(request.driving)
    notes = [f"{name}: {note}" for name, one in zip(names, (footage, driver), strict=True) for note in one.notes]
    seen = smooth_sequence(footage.landmarks, sampling.smoothing)
    best = calm_frame(seen, geometry) if request.reference_frame is None else request.reference_frame
    moving = replace(footage.moving, settings=footage.moving.settings.model_copy(update={"max_side": _MAX_SIDE}))
    picture = _picture(moving, best, len(seen))
    seen = replace(seen, width=picture.width, height=picture.height)
    turn = Turn(*picture.size, turn_deg(_usual_tilt(seen)))
    squares = following_squares(seen, turn, model.crop)
    theirs = smooth_sequence(at_times(driver.landmarks, seen.fps, len(seen)), sampling.smoothing)
    made = seen.valid & theirs.valid
    strength = beside_gaps(made, seen.fps, _EASE_S)
    inside = in_squares(seen, turn, squares, model.size)
    carried = carry_onto(
        theirs, inside, best, geometry, request.transfer, request.head, model.poses, strength, model.mouths
    )
    notes += [f"the model starts from frame {best} of the footage", *carried.notes]
    without_face, without_driver = int((~seen.valid).sum()), int((seen.valid & ~theirs.valid).sum())
    driver_s = len(driver.landmarks) / driver.landmarks.fps
    ended = int((seen.valid & (np.arange(len(seen)) / seen.fps > driver_s - 0.5 / driver.landmarks.fps)).sum())
    if without_face:
        notes.append(f"{names[0]}: {without_face} of {len(seen)} frames do not show the person and stay as they are")
    if ended:
        notes.append(f"{names[1]} ends after {driver_s:.1f} of {length_s:.1f} s; {ended} frames stay as they are")
    if without_driver > ended:
        notes.append(f"{names[1]}: no face for {without_driver - ended} of {len(seen)} frames, which stay as they are")
    for note in notes:
        log(note)
    return Footage(
        footage=footage,
        moving=moving,
        driver=driver,
        reference_frame=best,
        reference=_reference(picture, turn, squares[best], model.size),
        turn=turn,
        squares=squares,
        landmarks=DrawnLandmarks(carried.points, model.size, model.size, model.landmark_variant),
        own=carried.own,
        opacity=beside_gaps(made, seen.fps, _FADE_S),
        without_face=without_face,
        without_driver=without_driver,
        notes=tuple(notes),
    )


def beside_gaps(made: np.ndarray, fps: float, seconds: float) -> np.ndarray:
    """(f,) from 0 to 1: rising and falling where a run of made frames (f,) bool begins and ends inside the footage."""
    result = np.zeros(len(made))
    reach = seconds * fps
    for span in spans_of(made):
        frames = np.arange(span.start, span.stop)
        since = np.full(len(frames), np.inf) if span.start == 0 else frames - span.start + 1.0
        until = np.full(len(frames), np.inf) if span.stop == len(made) else span.stop - frames.astype(float)
        result[span] = smoothstep(np.minimum(since, until) / (reach + 1))
    return result


def put_onto(scene: Footage, squares: Iterator[np.ndarray], fps: float, head: Head) -> Iterator[np.ndarray]:
    """The footage's frames (h, w, 3) uint8 with the made squares in them; `squares` come for made frames alone."""
    size, starts, to_make = scene.landmarks.height, {span.start: span for span in scene.spans}, scene.made
    colours = ColourKeeper(fps)
    drawn = own = np.empty(0)
    first = 0
    with scene.moving.open() as video:
        for frame, (_, rgb) in enumerate(video.pictures()):
            square = scene.squares[frame]
            if square is None or not to_make[frame]:
                yield rgb
                continue
            if frame in starts:
                span, first, colours = starts[frame], frame, ColourKeeper(fps)
                drawn, own = (steady(points[span], fps) for points in (scene.landmarks.points_px, scene.own))
            cut, made = Cut(scene.turn, square), next(squares)
            faces, below = np.stack([drawn[frame - first], own[frame - first]]), cut.picture(Image.fromarray(rgb), size)
            if head == "driver":
                mask = head_mask(faces, size, cut.seams)
                made = colours.of_skin(made, np.asarray(below), faces[0], faces[1], mask)
            else:
                mask = soft_mask(faces, size)
                made = colours.at_seam(made, np.asarray(below), mask)
                if square.side > size:
                    made = with_detail(
                        made, np.asarray(below), np.asarray(cut.picture(Image.fromarray(rgb), square.side))
                    )
            weight = Image.fromarray(mask * np.float32(scene.opacity[frame]))
            yield cut.paste(rgb, made, np.asarray(weight.resize((square.side,) * 2, Image.Resampling.BILINEAR)))
    left = sum(1 for _ in squares)  # to its end, where the pipeline clears up
    assert not left, f"{left} more squares than frames"


def _picture(moving: Moving, wanted: int, frames: int) -> Image.Image:
    """One frame of the footage. Raises ValueError where there are fewer."""
    with moving.open() as video:
        for frame, (_, rgb) in enumerate(video.pictures()):
            if frame == wanted:
                return Image.fromarray(rgb)
    raise ValueError(f"frame {wanted} of the footage: its frames are 0 to {frames - 1}")


def _reference(picture: Image.Image, turn: Turn, square: Square | None, size: int) -> Image.Image:
    assert square is not None, "carry_onto refuses a reference without a face"
    return Cut(turn, square).picture(picture, size)


def _usual_tilt(footage: LandmarkSequence) -> float:
    """The person's mean tilt in degrees, as `tilt_deg` of each frame."""
    angles = np.radians([tilt_deg(points) for points in footage.pixels()[footage.valid]])
    return float(np.degrees(np.angle(np.exp(1j * angles).mean())))
