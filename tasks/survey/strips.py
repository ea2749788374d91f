"""Strips of small pictures: a clip's frames with its landmarks and masks over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fye_model.files import whole_file, write_atomic
from fye_model.landmarks.drawing import draw_landmarks
from fye_model.landmarks.table import read_landmarks, read_masks
from tasks.media.compose import pictures_in_a_row
from tasks.media.read import read_frames
from tasks.results.overlay import tinted
from tasks.results.pictures import spread_frames
from tasks.survey.records import HeldClip, Holdings, LostTrack

VERSION = 1  # of how strips look: in their names, so that an older strip is not taken for a new one
FRAMES, HALF = 6, 3  # of a clip; in one file, so that narrow pages put the halves under each other
SIDE_PX = 192
_QUALITY = 80
_FACE_STRENGTH = 0.2  # faces stay faces
_LINES = np.array((255, 255, 255), np.uint8)


def strip_names(clip: HeldClip) -> list[str]:
    """File names of a clip's strip: they change with its landmarks, whose folder is named after their key."""
    tag = Path(clip.landmarks).parent.name[:10]
    return [f"{clip.clip}-{tag}-{VERSION}-{half}.jpg" for half in range(FRAMES // HALF)]


def draw_clip(holdings: Holdings, clip: HeldClip, folder: Path) -> None:
    """Write a clip's strip into `folder`, unless it is there."""
    paths = [folder / name for name in strip_names(clip)]
    if all(path.exists() for path in paths):
        return
    store = holdings.store
    sequence = read_landmarks(store.local_path(clip.landmarks))
    expression, face = read_masks(store.local_path(clip.masks))
    chosen = list(spread_frames(len(sequence), FRAMES))
    scale = np.array((SIDE_PX / sequence.width, SIDE_PX / sequence.height))
    lines = draw_landmarks(sequence.pixels()[chosen] * scale, SIDE_PX, SIDE_PX)
    pictures = []
    for place, rgb in enumerate(read_frames(store.local_path(clip.video), chosen)):
        frame = chosen[place]
        small = np.asarray(Image.fromarray(rgb).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR))
        small = tinted(small, _enlarged(face[frame]), "face", _FACE_STRENGTH)
        small = tinted(small, _enlarged(expression[frame]), "expression")
        drawn = lines[place].any(axis=2, keepdims=True)
        picture = Image.fromarray(np.where(drawn, _LINES, small))
        if not sequence.valid[frame]:
            ImageDraw.Draw(picture).text((6, 6), "no face", fill="red")
        elif sequence.interpolated[frame]:
            ImageDraw.Draw(picture).text((6, 6), "interpolated", fill="yellow")
        pictures.append(picture)
    for number, path in enumerate(paths):
        _save(pictures[number * HALF : (number + 1) * HALF], path)


def track_name(track: LostTrack, number: int) -> str:
    """File name of the strip of the `number`-th lost track."""
    folder = Path(track.picture).parent.parent.name
    return f"track-{folder[:16]}-{track.start}-{track.end}-{number}-{VERSION}.jpg"


def copy_track(holdings: Holdings, track: LostTrack, path: Path) -> None:
    """Put the picture of a lost track at `path`, unless it is there: a page takes its pictures from beside it."""
    if not path.exists():
        write_atomic(path, holdings.store.read_bytes(track.picture))


def _enlarged(mask: np.ndarray) -> np.ndarray:
    """A mask of latent size as one value a pixel of a strip's picture."""
    return np.asarray(Image.fromarray(mask.astype(np.float32)).resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST))


def _save(pictures: list[Image.Image], path: Path) -> None:
    row = pictures_in_a_row([np.asarray(picture) for picture in pictures], pictures[0].height)
    with whole_file(path) as temporary:
        Image.fromarray(row).save(temporary, "JPEG", quality=_QUALITY)
