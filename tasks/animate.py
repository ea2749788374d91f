"""A portrait performs a driver: one picture and one video (or stored landmarks) in, one video out.

Memory does not grow with the length: the driver is read frame by frame, landmarks are drawn window by window, and
finished frames go to the encoder in playing order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import ValidationError

from fye_model.animation.compatibility import check_folder
from fye_model.animation.driving import Motion, motion_points, reference_in_square
from fye_model.animation.folder import read_description
from fye_model.animation.inputs import DrawnLandmarks
from fye_model.animation.portrait import Square, choose_face, square_around, upright_rgb, whole_square
from fye_model.animation.schedule import progressive_windows
from fye_model.config import SamplingConfig
from fye_model.landmarks.drawing import Variant
from fye_model.landmarks.table import LandmarkSequence, read_landmarks
from tasks.engine.items import Quarantine
from tasks.faces.detector import DetectedFace, FaceLandmarker
from tasks.faces.landmarker import LandmarkerAsset
from tasks.landmarks import FaceTracker, build_sequence, load_geometry
from tasks.media.read import iter_frames, probe, write_video
from tasks.workspace.recipes import explain_problems, merge_settings

MAX_PORTRAIT_SIDE = 1920  # of the picture that a result is pasted back into
_MOST_FACES = 8
_MAX_GAP_FRAMES = 5  # as `LandmarkConfig.max_gap_frames`
_CRF = 16
_COMPILE_FROM_FRAMES = 2000  # compiling takes about a minute and saves a fortieth of a second a frame


@dataclass(frozen=True)
class Portrait:
    """picture: upright RGB; square: the part that is animated; reference: its face in that part, None without one."""

    picture: Image.Image
    square: Square
    reference: LandmarkSequence | None
    faces: int


def animate(
    portrait: Path,
    driving: Path,
    model: Path,
    output: Path,
    *,
    asset: LandmarkerAsset,
    sampling: SamplingConfig | None = None,
    face: str = "largest",
    paste_back: bool = False,
    side_by_side: bool = False,
    seed: int | None = None,
    device: str = "auto",
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Write `output` (mp4): the portrait with the driver's expressions and head motion, at its fps and length.

    portrait: any picture; turned as its EXIF tag says, transparent parts on white, cropped around the face (`face`:
    `largest`, or a number from the left, from 0). A portrait without a detectable face works, unaligned, and the
    result says so. driving: a video, whose sound is copied, or a landmark table (.parquet). Frames of the driver
    without a face: gaps up to 5 frames are interpolated, longer ones hold the last face; both are counted.
    paste_back: put the animated square back into the whole picture. side_by_side: portrait | driver | result.
    sampling: what the model was evaluated with (its `fye.json`), when None. seed: in place of `sampling.seed`.
    device: `auto` is a GPU where there is one; half precision there.

    Returns a row of JSON values. Raises `ValueError` for a driver that is empty or shows no face, a file that cannot be
    read, a face number that does not exist, or landmarks of another model than the detector. `output` is written
    whole or not at all.
    """
    import torch  # the networks are slow to import

    from fye_model.animation.pipeline import FollowYourEmojiPipeline

    check_request(portrait, driving, model, output)
    description = read_description(model)
    sampling = sampling or sampling_of(model, {})
    seed = sampling.seed if seed is None else seed
    size = int(description.get("size", 512))
    variant: Variant = description.get("landmark_variant", "expression_aware")
    if (trained := description.get("landmark_model", asset.model)) != asset.model:
        log(f"note: the model was trained on landmarks of {trained}, the portrait's are of {asset.model}")

    with FaceLandmarker(asset.path, asset.model, max_faces=_MOST_FACES) as landmarker:
        subject = read_portrait(portrait, landmarker, size, face)
        driver = read_driver(driving, landmarker, asset)
    if subject.reference is None:
        log(f"{portrait.name}: no face found; the driver's landmarks are drawn as they are, without alignment")
    elif subject.faces > 1:
        log(f"{portrait.name}: {subject.faces} faces found, using {face}")
    motion = motion_points(driver, subject.reference, load_geometry(asset), size, sampling.smoothing, variant)
    if motion.held.any():
        log(f"{driving.name}: {int(motion.held.sum())} of {len(driver)} frames without a face hold a neighbour's")

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = torch.float16 if device.startswith("cuda") else torch.float32
    pipeline: Any = FollowYourEmojiPipeline.from_pretrained(model, dtype=precision).to(device)
    pipeline.set_progress_bar_config(disable=True)
    if device.startswith("cuda"):
        log(str(pipeline.enable_fast_path(compile=len(driver) >= _COMPILE_FROM_FRAMES)))
    landmarks = DrawnLandmarks(motion.points, size, size, variant)
    reference = subject.square.cut(subject.picture, size)
    cached = sampling.step_cache.interval > 1
    settings = {
        "num_inference_steps": sampling.steps,
        "guidance_scale": sampling.guidance_scale,
        "strategy": sampling.strategy,
        "window": sampling.window,
        "overlap": sampling.overlap,
    }
    cache_error = _cache_error(pipeline, reference, landmarks, settings, sampling, seed, log) if cached else None
    chunks = pipeline.stream(
        reference,
        landmarks,
        generator=torch.Generator().manual_seed(seed),
        step_cache=sampling.step_cache if cached else None,
        output_type="pil",
        **settings,
    )
    is_video = driving.suffix.lower() != ".parquet"
    frames = _composed(_counted(chunks, len(driver), log), subject, landmarks, driving, paste_back, side_by_side)
    audio = driving if is_video and probe(driving).has_audio else None
    written = write_video(output, (_even(frame) for frame in frames), driver.fps, _CRF, audio=audio)
    assert written == len(driver), f"{written} frames written, {len(driver)} in the driver"
    return {**_row(output, driver, subject, motion, audio is not None, seed, sampling), "step_cache_l1": cache_error}


def check_request(portrait: Path, driving: Path, model: Path, output: Path) -> None:
    """Look at what was asked for before anything slow: `ValueError` for files that are missing, are no model folder
    or no picture or video, and for an output that could not be written. Makes the output's folder."""
    check_folder(model)
    try:
        with Image.open(portrait):
            pass
        if driving.suffix.lower() == ".parquet":
            if not driving.is_file():
                raise ValueError(f"{driving}: no such file; give a video, or a landmark table that a run stored")
        else:
            probe(driving)
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise _no_picture(portrait, error) from error
    except Quarantine as error:
        raise ValueError(f"{error.message} (the driving video)") from error
    except OSError as error:
        raise ValueError(f"{error.filename or portrait}: cannot be read: {error.strerror or error}") from error
    if output.suffix.lower() != ".mp4" or output.is_dir():
        what = "is a folder" if output.is_dir() else "does not end in .mp4"
        raise ValueError(f"output {output} {what}; give the name of the mp4 file to write")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise ValueError(f"output {output}: its folder cannot be written: {error.strerror or error}") from error


def sampling_of(model: Path, changes: dict[str, Any]) -> SamplingConfig:
    """The sampling settings that a model was evaluated with, with changes; ValueError for an unknown setting."""
    settings = merge_settings(read_description(model).get("sampling", {}), changes)
    try:
        return SamplingConfig.model_validate(settings)
    except ValidationError as error:
        raise ValueError(f"sampling settings: {'; '.join(explain_problems(error, SamplingConfig))}") from error


def _cache_error(
    pipeline: Any,
    reference: Image.Image,
    landmarks: DrawnLandmarks,
    settings: dict[str, Any],
    sampling: SamplingConfig,
    seed: int,
    log: Callable[[str], None],
) -> float:
    """What skipping steps changes, measured on the keyframes: mean absolute difference of pictures in [0, 1]."""
    import torch

    from fye_model.animation.step_cache import StepCache

    keyframes = list(progressive_windows(len(landmarks), sampling.window)[0].frames)
    pictures = [
        pipeline(
            reference,
            landmarks.pictures(keyframes),
            generator=torch.Generator().manual_seed(seed),
            step_cache=cache,
            output_type="np",
            **settings,
        ).frames
        for cache in (None, sampling.step_cache)
    ]
    difference = np.abs(pictures[0] - pictures[1])
    computed = StepCache(sampling.step_cache, sampling.steps).computed_steps
    log(
        f"step cache: {computed} of {sampling.steps} steps computed in full; against the exact path, {len(keyframes)} "
        f"keyframes differ by {difference.mean():.5f} of the range of brightness on average, {difference.max():.3f} "
        "at most"
    )
    return float(difference.mean())


def read_portrait(path: Path, landmarker: FaceLandmarker, size: int, face: str = "largest") -> Portrait:
    """Open a picture, find its faces and choose one. Raises `ValueError` for what is no picture."""
    try:
        with Image.open(path) as image:
            picture = upright_rgb(image, MAX_PORTRAIT_SIDE)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise _no_picture(path, error) from error
    rgb = np.asarray(picture)
    faces = landmarker.detect_all(rgb)
    if not faces:
        if face != "largest":
            raise ValueError(f"{path}: face {face} was asked for, but no face was found in the portrait")
        return Portrait(picture, whole_square(*picture.size), None, 0)
    scale = np.tile(picture.size, 2)
    try:
        chosen = faces[choose_face([_box(item, scale) for item in faces], face)]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    square = square_around(_box(chosen, scale), *picture.size)
    reference = reference_in_square(_sequence(chosen, *picture.size, landmarker.model), square, size)
    cropped = landmarker.detect(np.asarray(square.cut(picture, size)))
    if cropped:  # looked at closely, the points are better, and there are blendshapes and pose
        centre = reference.points[0, :, :2].mean(axis=0)
        nearest = min(cropped, key=lambda item: float(np.hypot(*(item.points[:, :2].mean(axis=0) - centre))))
        reference = _sequence(nearest, size, size, landmarker.model)
    return Portrait(picture, square, reference, len(faces))


def read_driver(path: Path, landmarker: FaceLandmarker, asset: LandmarkerAsset) -> LandmarkSequence:
    """Landmarks of every frame of a video, or a stored table. Raises `ValueError` for an empty or unreadable driver."""
    if path.suffix.lower() == ".parquet":
        sequence = read_landmarks(path)
        if sequence.model != asset.model:
            raise ValueError(
                f"{path}: landmarks of {sequence.model}, but the portrait's would be of {asset.model}; points of two "
                "models never mix: detect the driver again, or use the landmark model that it was detected with"
            )
        return sequence
    try:
        info = probe(path)
        tracker = FaceTracker(landmarker, _MAX_GAP_FRAMES)
        faces: list[DetectedFace | None] = []
        width, height = info.width, info.height
        for rgb in iter_frames(path):
            height, width = rgb.shape[:2]
            faces.append(tracker.next(rgb))
    except Quarantine as error:
        raise ValueError(f"{error.message} (the driving video)") from error
    except OSError as error:
        raise ValueError(f"{path}: the driving video cannot be read: {error}") from error
    if not faces:
        raise ValueError(f"{path}: the driving video is empty: no frame could be decoded")
    if not any(faces):
        raise ValueError(f"{path}: none of {len(faces)} frames of the driving video shows a face")
    times = np.arange(len(faces)) / info.fps
    return build_sequence(faces, times, info.fps, width, height, asset.model, load_geometry(asset), _MAX_GAP_FRAMES)


def _no_picture(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: not a readable picture ({error}); give a PNG, JPEG or WebP file")


def _sequence(face: DetectedFace, width: int, height: int, model: str) -> LandmarkSequence:
    one = np.ones(1, bool)
    return LandmarkSequence(
        points=face.points[None],
        matrix=None if face.matrix is None else face.matrix[None],
        blendshapes=None if face.blendshapes is None else face.blendshapes[None],
        valid=one,
        interpolated=~one,
        time_s=np.zeros(1),
        fps=1.0,
        width=width,
        height=height,
        model=model,
    )


def _box(face: DetectedFace, scale: np.ndarray) -> tuple[float, float, float, float]:
    left, top, right, bottom = np.array(face.box) * scale
    return float(left), float(top), float(right), float(bottom)


def _counted(chunks: Iterator[list[Image.Image]], total: int, log: Callable[[str], None]) -> Iterator[np.ndarray]:
    """Frames (h, w, 3) uint8 one by one, with a line for each part that is done."""
    done = 0
    for chunk in chunks:
        yield from (np.asarray(frame) for frame in chunk)
        done += len(chunk)
        log(f"{done} of {total} frames")


def _composed(
    frames: Iterator[np.ndarray],
    subject: Portrait,
    landmarks: DrawnLandmarks,
    driving: Path,
    paste_back: bool,
    side_by_side: bool,
) -> Iterator[np.ndarray]:
    """The frames as they are shown: pasted back, and beside portrait and driver, as asked."""
    size = landmarks.height
    picture = np.asarray(subject.picture)
    still = picture if paste_back else np.asarray(subject.square.cut(subject.picture, size))
    drivers: Iterator[np.ndarray] | None = None
    if side_by_side:
        if driving.suffix.lower() == ".parquet":
            drivers = (landmarks.pictures([frame])[0] for frame in range(len(landmarks)))
        else:
            drivers = iter_frames(driving)
    for square in frames:
        frame = subject.square.paste(picture, square[None])[0] if paste_back else square
        if drivers is None:
            yield frame
        else:
            yield np.hstack([_panel(part, size) for part in (still, next(drivers), frame)])


def _panel(picture: np.ndarray, height: int) -> np.ndarray:
    """A picture at a given height, in its own aspect ratio."""
    if picture.shape[0] == height:
        return picture
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _even(frame: np.ndarray) -> np.ndarray:
    """Repeat the last row or column where a side is odd: video needs even ones."""
    return np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")


def _row(
    output: Path,
    driver: LandmarkSequence,
    subject: Portrait,
    motion: Motion,
    audio: bool,
    seed: int,
    sampling: SamplingConfig,
) -> dict[str, Any]:
    info = probe(output)
    return {
        "output": str(output),
        "frames": len(driver),
        "fps": driver.fps,
        "width": info.width,
        "height": info.height,
        "aligned": motion.aligned,
        "portrait_faces": subject.faces,
        "driver_interpolated": int(driver.interpolated.sum()),
        "driver_held": int(motion.held.sum()),
        "audio": audio,
        "seed": seed,
        "sampling": sampling.model_dump(mode="json"),
    }
