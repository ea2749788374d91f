"""Pictures are what their bytes are; what would start a program or is damaged is refused, everywhere."""

from __future__ import annotations

import re
import resource
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.media.pictures import NoPictureError, PictureReader, open_picture, read_picture
from tests.tasks.videos import assert_upright, encode, numbered

ROOT = Path(__file__).resolve().parents[3]
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(out) print\n%%EOF\n"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "HEIF"])
def test_a_picture_of_any_kind_is_read_under_any_name(tmp_path: Path, kind: str) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    Image.fromarray(numbered(1)[0]).save(tmp_path / "picture.txt", kind)
    assert_upright(np.asarray(read_picture(tmp_path / "picture.txt")), tolerance=16)


def test_a_picture_is_turned_as_its_tag_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 5  # mirrored and lying
    Image.fromarray(np.ascontiguousarray(numbered(1)[0].transpose(1, 0, 2))).save(tmp_path / "p.png", exif=exif)
    assert_upright(np.asarray(read_picture(tmp_path / "p.png")))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (POSTSCRIPT, "it is none that is known"),
        (b"", "the file is empty"),
        (b"text\n" * 99, "it is none that is known"),
        ("half", "a damaged picture"),
        ("video", "it is none that is known"),
    ],
    ids=["postscript", "empty", "text", "half", "video"],
)
def test_what_is_no_picture_is_refused_in_words(tmp_path: Path, content: bytes | str, words: str) -> None:
    path = tmp_path / "p.png"
    if content == "video":
        encode(tmp_path / "v.mp4", numbered(2)).rename(path)
    elif content == "half":
        Image.effect_noise((64, 64), 80).save(path)
        path.write_bytes(path.read_bytes()[:1500])
    else:
        assert isinstance(content, bytes)
        path.write_bytes(content)
    with pytest.raises(NoPictureError, match=re.escape(words)), open_picture(path) as image:
        image.load()


def test_damage_inside_a_moving_picture_costs_the_frames_that_it_hits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(frame) for frame in rng.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)]
    frames[0].save(tmp_path / "whole.avif", save_all=True, append_images=frames[1:], duration=40)
    content = bytearray((tmp_path / "whole.avif").read_bytes())
    for at in rng.integers(len(content) // 2, len(content), 20):
        content[at] ^= 0xFF
    (tmp_path / "damaged.avif").write_bytes(content)
    reader = PictureReader(tmp_path / "damaged.avif", 25.0)
    good = len(list(reader))
    assert reader.corrupt_frames > 0 and good > 0 and good + reader.corrupt_frames == 6


def test_pictures_and_videos_are_opened_in_one_place() -> None:
    """Elsewhere only what was written here is: strips of a report, frames of a pack. `av.open(…, "w"` writes."""
    opened = re.compile(r"\b(Image|imageio)\.open\(|\bav\.open\((?![^\n]*\"w\")|\bcv2\.(imread|VideoCapture)\(")
    places = {
        path.relative_to(ROOT).as_posix()
        for room in ("tasks", "flows", "fye_model")
        for path in (ROOT / room).rglob("*.py")
        if opened.search(path.read_text())
    }
    media = {place for place in places if place.startswith("tasks/media/")}
    own = {"tasks/results/report_pictures.py", "tasks/workspace/page.py", "fye_model/pictures.py"}
    assert places - media == own
    for place in own | media:  # a store's files may be anybody's, and PIL starts another program for some formats
        assert "Image.open(" not in (text := (ROOT / place).read_text()) or text.count("Image.open(") == text.count(
            "formats="
        ), place


@pytest.mark.parametrize(
    ("side", "says"),
    [(13_300, r"13300 x 13300 pixels \(177 megapixels\); give one of at most 100"), (60_000, "exceeds limit")],
)
def test_a_picture_too_large_to_be_held_is_refused_before_it_is_decoded(tmp_path: Path, side: int, says: str) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "p.png").write_bytes(data)
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings(), pytest.raises(NoPictureError, match=says):
        warnings.simplefilter("error")
        read_picture(tmp_path / "p.png", 64)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun < 50_000, "KiB"
