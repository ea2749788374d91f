"""What a stage made of a clip, drawn over the clip: for people who look into one item of one stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fye_model.landmarks import topology
from fye_model.landmarks.table import read_landmarks, read_masks
from tasks.media.read import count_frames, read_frames
from tasks.results.pictures import spread_frames

_COLUMNS = 8  # frames of the clip, spread over it
_MOST_PX = 384  # of a picture's side
_TINTS = {"expression": (255, 64, 64), "face": (64, 128, 255)}
_STRENGTH = 0.35  # of a mask's tint
Files = Mapping[str, Path]


def overlay(stage: str, files: Files, out: Path) -> Image.Image:
    """Pictures side by side of what the stage `stage` wrote into `out` for the item with these input files.

    Raises ValueError, with the stages that have such a picture, for another one.
    """
    if stage not in _DRAWN:
        raise ValueError(f"there is no overlay for {stage}; there is one for {', '.join(_DRAWN)}")
    return _DRAWN[stage](files, out)


def _landmarks(files: Files, out: Path) -> Image.Image:
    """Frames with the masks as tints (face blue, expression red), and the landmarks: those that are drawn, white."""
    sequence = read_landmarks(out / "landmarks.parquet")
    expression, face = read_masks(out / "masks.parquet")
    chosen = spread_frames(len(sequence), _COLUMNS)
    pictures = []
    for frame, rgb in zip(chosen, read_frames(files["video"], list(chosen)), strict=True):
        over = tinted(tinted(rgb, _cells(face[frame], rgb), "face"), _cells(expression[frame], rgb), "expression")
        picture = Image.fromarray(over)
        points = sequence.pixels()[frame]
        if np.isfinite(points).all():
            draw = ImageDraw.Draw(picture)
            for number, (x, y) in enumerate(points[:, :2]):
                draw.point((x, y), fill="white" if number in topology.EXPRESSION_POINTS else "lime")
        else:
            ImageDraw.Draw(picture).text((4, 4), "no face", fill="red")
        pictures.append(picture)
    return _row([pictures])


def _clips(files: Files, out: Path) -> Image.Image:
    """A row of frames for every square clip that was cut."""
    rows = []
    for video in sorted(out.rglob("*.mp4")):
        chosen = spread_frames(count_frames(video), _COLUMNS)
        rows.append([Image.fromarray(frame) for frame in read_frames(video, list(chosen))])
    return _row(rows)


def _latents(files: Files, out: Path) -> Image.Image:
    """Frames above what the autoencoder makes of their latents."""
    import torch
    from safetensors.torch import load_file

    from fye_model.networks.autoencoder import decode, load_autoencoder

    vae = next(path.parent for name, path in files.items() if name == "vae/config.json")
    latents = load_file(out / "latents.safetensors")["latents"].to(torch.float32)
    chosen = list(spread_frames(len(latents), _COLUMNS))
    decoded = decode(load_autoencoder(vae), latents[chosen]).numpy()
    return _row([[Image.fromarray(frame) for frame in row] for row in (read_frames(files["video"], chosen), decoded)])


_DRAWN: dict[str, Callable[[Files, Path], Image.Image]] = {
    "clips": _clips,
    "landmarks": _landmarks,
    "latents": _latents,
}


def tinted(rgb: np.ndarray, mask: np.ndarray, name: str, strength: float = _STRENGTH) -> np.ndarray:
    """A frame (h, w, 3) uint8 with a mask over it, (h, w) fractions; `name` (expression or face) gives the colour."""
    weight = strength * mask[..., None]
    return ((1 - weight) * rgb + weight * np.array(_TINTS[name])).round().astype(np.uint8)


def _cells(mask: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """A mask of latent size, (h / factor, w / factor), as one value a pixel of the frame."""
    return np.repeat(np.repeat(mask, rgb.shape[0] // mask.shape[0], axis=0), rgb.shape[1] // mask.shape[1], axis=1)


def _row(rows: list[list[Image.Image]]) -> Image.Image:
    """Pictures in rows, each reduced to a side of at most `_MOST_PX`."""
    if not rows or not rows[0]:
        raise ValueError("there is nothing to draw: the stage made no frames of this item")
    side = min(_MOST_PX, max(rows[0][0].size))
    sheet = Image.new("RGB", (side * max(len(row) for row in rows), side * len(rows)), "white")
    for number, row in enumerate(rows):
        for column, picture in enumerate(row):
            sheet.paste(picture.resize((side, side)), (column * side, number * side))
    return sheet
