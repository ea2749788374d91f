"""Sample clips for `fye samples` and the demo: portraits in motion that is known to the frame.

Each clip has an emphasis of its own (talking, turning, surprise, looking around, swaying, nodding), and everything else
moves a little; the motion never rests, so that a held-out tail is no repetition of what came before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from fye_model.files import write_atomic
from tasks.media.write import write_video
from tasks.samples.puppet import Pose, Puppet

SECONDS = 6.0
PERSON = "eileen-collins"  # the folder that makes the clips one subject, whatever they do
# Largest value of each channel, and its slowest and fastest component in Hz.
_CHANNELS = {
    "yaw": (27.0, 0.2, 0.45),
    "pitch": (13.0, 0.25, 0.6),
    "roll": (10.0, 0.2, 0.5),
    "shift_x": (9.0, 0.2, 0.5),
    "shift_y": (6.0, 0.25, 0.6),
    "zoom": (0.16, 0.2, 0.45),
    "mouth": (1.0, 0.6, 1.9),
    "gaze": (1.0, 0.3, 0.8),
    "brows": (1.0, 0.3, 0.7),
    "pucker": (1.0, 0.3, 0.8),
}
# How much of it each kind of clip uses; channels that are not named get _REST.
_KINDS = {
    "talk": {"mouth": 1.0, "yaw": 0.4, "pucker": 0.5, "brows": 0.5},
    "turn": {"yaw": 1.0, "gaze": 0.6, "pitch": 0.5},
    "surprise": {"brows": 1.0, "mouth": 0.9, "pitch": 0.6, "zoom": 1.0},
    "look": {"gaze": 1.0, "roll": 0.7, "yaw": 0.5},
    "sway": {"shift_x": 1.0, "roll": 1.0, "shift_y": 0.8, "pucker": 0.8},
    "nod": {"pitch": 1.0, "mouth": 0.7, "brows": 0.7, "zoom": 0.6},
}
_REST = 0.6
_ONE_SIDED = ("brows", "pucker")  # from 0 up; the others go both ways
_CRF = 16  # they are cut and encoded again
_BLINK_S = 0.36
_BLINK_EVERY_S = (0.9, 1.7)


MOTION_FILE = "motion.csv"


@dataclass(frozen=True)
class SampleSettings:
    """What clips are made: how many of a person, how long, of size x size pixels.

    seed: of the motion; people move differently under one seed. Raises ValueError for clips that cannot be.
    """

    clips: int = 6
    seconds: float = SECONDS
    size: int = 384
    fps: float = 25.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clips < 1 or self.seconds <= 0 or self.fps <= 0 or self.size < 64 or self.size % 2:
            raise ValueError(
                f"samples need clips >= 1, seconds > 0, fps > 0 and an even size >= 64; "
                f"got clips={self.clips}, seconds={self.seconds}, fps={self.fps}, size={self.size}"
            )


def make_samples(
    output: Path, clips: int = 6, seconds: float = SECONDS, size: int = 384, fps: float = 25.0, seed: int = 0
) -> list[Path]:
    """Write `clips` videos of size x size pixels into the folder `output`; returns their paths.

    Equal arguments give equal frames. Raises ValueError for sizes the encoder cannot take.
    """
    settings = SampleSettings(clips, seconds, size, fps, seed)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    puppet = Puppet()
    paths = sample_paths(output, clips)
    for index, path in enumerate(paths):
        write_video(path, _frames(puppet, known_motion(index, seconds, fps, seed), settings.size), fps, crf=_CRF)
    return paths


def write_person(output: Path, person: str, puppet: Puppet, settings: SampleSettings) -> list[Path]:
    """Clips of a figure that moves in the person's own way, and MOTION_FILE with the pose of every frame.

    output: the person's folder. Returns the clips' paths. Equal arguments give equal frames.
    """
    output.mkdir(parents=True, exist_ok=True)
    names = [field.name for field in fields(Pose)]
    lines, paths = [",".join(["clip", "frame", *names])], []
    for number in range(settings.clips):
        path = output / f"{person}-{kind_of(person, number)}.mp4"
        poses = motion_of(person, number, settings)
        write_video(path, _frames(puppet, poses, settings.size), settings.fps, crf=_CRF)
        values = (",".join(f"{value:.4f}" for value in astuple(pose)) for pose in poses)
        lines += [f"{path.stem},{frame},{value}" for frame, value in enumerate(values)]
        paths.append(path)
    write_atomic(output / MOTION_FILE, "\n".join([*lines, ""]).encode())
    return paths


def motion_of(person: str, number: int, settings: SampleSettings) -> list[Pose]:
    """The pose of every frame of a person's clip; another person's clip of that number moves otherwise."""
    index = _first_kind(person) + number
    return known_motion(index, settings.seconds, settings.fps, f"{settings.seed}:{person}")


def kind_of(person: str, number: int) -> str:
    """The emphasis of a person's clip, numbered from the second round of kinds on. People begin with different ones."""
    kind, around = list(_KINDS)[(_first_kind(person) + number) % len(_KINDS)], number // len(_KINDS)
    return kind + (f"-{around + 1}" if around else "")


def _first_kind(person: str) -> int:
    return hashlib.sha256(person.encode()).digest()[0] % len(_KINDS)


def sample_paths(output: Path, clips: int = 6) -> list[Path]:
    """Where `make_samples` puts its clips."""
    return [output / f"{sample_name(index)}.mp4" for index in range(clips)]


def sample_name(index: int) -> str:
    """File stem of a sample clip: its kind, numbered from the second round of kinds on."""
    kinds = list(_KINDS)
    around, kind = divmod(index, len(kinds))
    return f"astronaut-{kinds[kind]}" + (f"-{around + 1}" if around else "")


def known_motion(index: int, seconds: float = SECONDS, fps: float = 25.0, seed: int | str = 0) -> list[Pose]:
    """The pose of every frame of a sample clip: the ground truth of its motion."""
    count = max(round(seconds * fps), 1)
    time = np.arange(count) / fps
    strength = _KINDS[list(_KINDS)[index % len(_KINDS)]]
    curves: dict[str, np.ndarray] = {}
    for name, (largest, slow, fast) in _CHANNELS.items():
        curve = _wander(time, slow, fast, _random(seed, index, name))
        if name in _ONE_SIDED:
            curve = (1 + curve) / 2
        curves[name] = largest * strength.get(name, _REST) * curve
    curves["zoom"] += 1.0
    curves["blink"] = _blinks(time, _random(seed, index, "blink"))
    return [Pose(**{name: float(curve[frame]) for name, curve in curves.items()}) for frame in range(count)]


def motion_curve(poses: list[Pose], channel: str) -> np.ndarray:
    """One channel of a motion, (f,). ValueError lists the channels for an unknown one."""
    known = [field.name for field in fields(Pose)]
    if channel not in known:
        raise ValueError(f"unknown channel {channel!r}; choose from {', '.join(known)}")
    return np.array([getattr(pose, channel) for pose in poses])


def _frames(puppet: Puppet, poses: list[Pose], size: int) -> Iterator[np.ndarray]:
    for pose in poses:
        yield puppet.frame(pose, size)


def _random(seed: int | str, index: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}:{index}:{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _wander(time: np.ndarray, slow_hz: float, fast_hz: float, random: np.random.Generator) -> np.ndarray:
    """A smooth curve between -1 and 1 that reaches one of them: three waves of unrelated lengths."""
    rates = np.linspace(slow_hz, fast_hz, 3) * random.uniform(0.85, 1.15, 3)
    phases = random.uniform(0, 2 * np.pi, 3)
    curve = np.sin(2 * np.pi * np.outer(time, rates) + phases) @ np.array([1.0, 0.8, 0.6])
    return curve / max(np.abs(curve).max(), 1e-6)


def _blinks(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Lids that close and open again now and then, the last time within the last half second but whole."""
    last = float(time[-1])
    closed = [last - _BLINK_S * random.uniform(0.7, 1.4)]
    while closed[-1] > _BLINK_S:
        closed.append(closed[-1] - random.uniform(*_BLINK_EVERY_S))
    distance = np.abs(time[:, None] - np.array(closed)).min(axis=1)
    return np.cos(np.pi / 2 * np.clip(2 * distance / _BLINK_S, 0, 1)) ** 2
