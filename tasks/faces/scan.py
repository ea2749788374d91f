"""The first pass over a video: scene cuts on every frame, faces on every `detect_stride`-th.

Where two successive looks disagree (a face came, went or jumped) every frame between is looked at, so tracks end where
the face does.
"""

from __future__ import annotations

from dataclasses import dataclass

import av
from av.video.reformatter import VideoReformatter

from fye_model.config import ClipConfig
from fye_model.landmarks.boxes import PixelBox
from tasks.faces.detector import FaceLandmarker
from tasks.faces.tracks import Look, steady
from tasks.media.read import to_rgb
from tasks.media.shown import ShownVideo

HELD_BYTES = 400 * 2**20  # of decoded frames: 36 s at 640x480, 12 s at 1280x720
_FRAME_BYTES = 6 * 2**10  # what a frame takes beside its pixels
_SCENE_SIDE = 160  # pixels of the longer side that cuts are detected on
_SEARCH_EVERY_S = 1.0  # a scene without a face is searched in tiles this often: that costs 20 detections


@dataclass(frozen=True)
class Scan:
    """What was found: faces in the frames that were looked at, the first frames of new scenes, each frame's time.

    width, height: pixels of the frames; colorspace: theirs. held: all frames of a short video, so that nobody need
    decode it again; None of a longer one.
    """

    looks: list[Look]
    cuts: list[int]
    times: list[float]
    fps: float
    width: int
    height: int
    colorspace: int
    held: list[av.VideoFrame] | None = None

    @property
    def frames(self) -> int:
        return len(self.times)


def scan_video(shown: ShownVideo, detector: FaceLandmarker, config: ClipConfig) -> Scan:
    """Take all frames of a video once: scene cuts, and faces where they are needed.

    Holds `detect_stride` frames of a long video, all of one that fits into `HELD_BYTES`.
    """
    from scenedetect import FrameTimecode  # brings OpenCV, which nobody but the workers needs
    from scenedetect.detectors import ContentDetector

    scenes = ContentDetector(threshold=config.scene_threshold, min_scene_len=0)
    width, height, fps = shown.shape.width, shown.shape.height, shown.settings.fps
    looker = _Looker(detector, config, fps)
    cuts: list[int] = []
    times: list[float] = []
    small = _scene_size(width, height)
    shrink = VideoReformatter()
    held: list[av.VideoFrame] | None = []
    room = HELD_BYTES
    for index, (time_s, frame) in enumerate(shown.frames()):
        times.append(time_s)
        if held is not None:
            held.append(frame)
            room -= _FRAME_BYTES + sum(plane.buffer_size for plane in frame.planes)  # lines are padded: up to twice
            if room < 0:
                held = None
        image = shrink.reformat(frame, width=small[0], height=small[1], format="bgr24", interpolation="AREA")
        is_cut = bool(scenes.process_frame(FrameTimecode(index, fps), image.to_ndarray()))
        if is_cut:
            cuts.append(index)
        looker.see(index, frame, is_cut)
    looker.finish()
    return Scan(looker.looks, cuts, times, fps, width, height, shown.shape.colorspace, held)


class _Looker:
    """Decides in which frames faces are searched, and keeps what was found, in order of frames."""

    def __init__(self, detector: FaceLandmarker, config: ClipConfig, fps: float) -> None:
        self.looks: list[Look] = []
        self._detector, self._config, self._fps = detector, config, fps
        self._convert = VideoReformatter()
        self._waiting: list[tuple[int, av.VideoFrame]] = []  # taken since the last look
        self._next_search = 0

    def see(self, index: int, frame: av.VideoFrame, is_cut: bool) -> None:
        if is_cut:
            self.finish()  # the scene's last frame
            self._next_search = index
        self._waiting.append((index, frame))
        if is_cut or not self.looks or index - self.looks[-1].frame >= self._config.detect_stride:
            self.finish()

    def finish(self) -> None:
        """Look at the last frame taken, and at those before it where it disagrees with the look before."""
        if not self._waiting:
            return
        *between, (index, frame) = self._waiting
        self._waiting = []
        before = self.looks[-1] if self.looks else None
        look = self._look(index, frame, before.boxes if before else ())
        if before is not None and not steady(before.boxes, look.boxes):
            for i, skipped in between:
                self.looks.append(self._look(i, skipped, self.looks[-1].boxes or look.boxes))
        self.looks.append(look)

    def _look(self, index: int, frame: av.VideoFrame, known: tuple[PixelBox, ...]) -> Look:
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
            self._next_search = index + max(1, round(_SEARCH_EVERY_S * self._fps))
        return Look(index, tuple(face.box.in_pixels(width, height) for face in faces))


def _scene_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, _SCENE_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
