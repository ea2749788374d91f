"""A bench at small size, made of the project's own sample clips and of files that nobody can take."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.bench.manifest import Bench
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.build_bench import BuildSettings, build_bench
from tasks.media.read import read_frames
from tasks.samples.clips import make_samples, sample_paths
from tests.tasks.videos import encode

SIZE, FRAMES = 128, 12
SETTINGS = BuildSettings(pairs=3, seed=1, seconds=FRAMES / 25, search_seconds=0.8, min_seconds=0.4, size=SIZE)


def make_offers(folder: Path) -> tuple[Path, Path]:
    """Folders of portraits (a face, a wall, the face again, no picture) and of videos (two of a face, a wall, none)."""
    portraits, driving = folder / "portraits", folder / "driving"
    (portraits / "real" / "nasa").mkdir(parents=True)
    (portraits / "cartoon" / "model-a").mkdir(parents=True)
    make_samples(driving, clips=2, seconds=0.8, size=192)
    encode(driving / "wall.mp4", np.full((15, 64, 64, 3), 90, np.uint8))
    (driving / "broken.mp4").write_bytes(b"\x00" * 99)
    face = Image.fromarray(read_frames(sample_paths(driving)[0], [0])[0])
    face.save(portraits / "real" / "nasa" / "some face.png")
    shutil.copy(portraits / "real" / "nasa" / "some face.png", portraits / "twice.png")
    Image.new("RGB", (90, 60), (200, 120, 40)).save(portraits / "cartoon" / "model-a" / "wall.png")
    (portraits / "text.png").write_text("not a picture")
    return portraits, driving


def build_mini(offers: tuple[Path, Path], output: Path, asset: LandmarkerAsset, **changes: object) -> Bench:
    """The bench of `make_offers`."""
    settings = SETTINGS.model_copy(update=changes)
    return build_bench(*offers, output, settings, asset, lambda line: None)


def copy_of_the_truth(bench: Bench, folder: Path) -> Path:
    """Results that are the driving videos themselves: a method that cannot be better."""
    folder.mkdir(parents=True)
    for pair in bench.pairs:
        shutil.copy(bench.folder / bench.driver(pair).file, folder / f"{pair.name}.mp4")
    return folder
