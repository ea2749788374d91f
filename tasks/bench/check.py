"""Whether a bench is whole: every file there and as its manifest says, and how it differs from the paper's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fye_model.files import file_digest
from tasks.bench.frames import ProbeRow, probe_to_the_end
from tasks.bench.manifest import (
    MANIFEST,
    PROTOCOL,
    STYLES,
    TABLES,
    UNKNOWN,
    Bench,
    DrivingRow,
    Header,
    leaves,
    read_bench,
    read_header,
)
from tasks.engine.items import Quarantine
from tasks.media.opening import printable
from tasks.media.pictures import NoPictureError, open_picture

# What the paper counts; the head of `datasets/emojibench/README.md` has the same.
PAPER_PORTRAITS, PAPER_MODELS, PAPER_ANIMALS, PAPER_VIDEOS = 410, 20, 20, 45
PAPER_SECONDS, PAPER_FRAMES = 5, 150
PAPER_TAGS = ("frown", "crossed_eyes", "pout")  # those that it names
_NEAR_SECONDS = 1.0
RATE_TOLERANCE = 5e-4  # 29.97 is not 30


@dataclass(frozen=True)
class Checked:
    """What was found: problems make a bench unusable, differences from the paper's composition do not."""

    bench: Bench | None
    problems: tuple[str, ...]
    differences: tuple[str, ...]


def check_bench(folder: Path) -> Checked:
    """Look at every file of a bench, and name every problem by itself. Raises nothing for a bad bench."""
    try:
        header = read_header(folder)
    except ValueError as error:
        return Checked(None, (str(error),), ())
    problems = [*_file_problems(folder, header)]
    try:
        bench = read_bench(folder)
    except ValueError as error:
        return Checked(None, (*problems, *str(error).splitlines()), ())
    problems += _table_problems(bench)
    if not problems:  # what is known to be damaged is not opened
        problems += _content_problems(bench)
    return Checked(bench, tuple(problems), tuple(_differences(bench)))


def need_bench(folder: Path) -> Bench:
    """A bench that is whole; ValueError lists what is wrong with it."""
    checked = check_bench(folder)
    if checked.bench is None or checked.problems:
        told = "\n".join(f"  {problem}" for problem in checked.problems)
        raise ValueError(f"the bench {folder} is not whole:\n{told}")
    return checked.bench


def _file_problems(folder: Path, header: Header) -> Iterator[str]:
    """Files that are missing, changed or not in the manifest, and names that leave the folder."""
    if header.protocol != PROTOCOL:
        yield f"{MANIFEST}: protocol {header.protocol!r}; this version knows {PROTOCOL}"
    for name in TABLES:
        if name not in header.files:
            yield f"{MANIFEST}: it does not list {name}"
    for name, entry in header.files.items():
        if problem := leaves(folder, name):
            yield f"{MANIFEST}: {problem}"
            continue
        path = folder / name
        if not path.is_file():
            yield f"{name}: missing; it should have {entry.size} bytes"
        elif path.stat().st_size != entry.size:
            yield f"{name}: {path.stat().st_size} bytes, expected {entry.size}; fetch it again"
        elif (found := file_digest(path)) != entry.sha256:
            yield f"{name}: sha256 {found}, expected {entry.sha256}; fetch it again"
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_dir() and name != MANIFEST and name not in header.files:
            yield f"{name}: an extra file, which {MANIFEST} does not list; remove it"


def _table_problems(bench: Bench) -> Iterator[str]:
    """Rows that name nothing, name it twice, or name a file that nobody vouches for."""
    for table, rows in (("portraits.csv", bench.portraits), ("driving.csv", bench.driving)):
        for name, count in Counter(row.id.lower() for row in rows).items():
            if count > 1:
                yield f"{table}: the id {name} is there {count} times (upper and lower case count as one)"
        for row in rows:
            if problem := leaves(bench.folder, row.file):
                yield f"{table}, {row.id}: {problem}"
            elif row.file not in bench.header.files:
                yield f"{table}, {row.id}: its file {row.file} is not in {MANIFEST}"
        if not rows:
            yield f"{table}: no rows"
    portraits = {row.id: row for row in bench.portraits}
    videos = {row.id for row in bench.driving}
    for portrait in bench.portraits:
        if portrait.frame_of and portrait.frame_of not in videos:
            yield f"portraits.csv, {portrait.id}: frame_of {portrait.frame_of}, which is no driving video"
    for pair, count in Counter(bench.pairs).items():
        if count > 1:
            yield f"pairs.csv: {pair.name} is there {count} times"
        if pair.portrait not in portraits:
            yield f"pairs.csv: {pair.name}: there is no portrait {pair.portrait}"
        elif (portraits[pair.portrait].frame_of == pair.driving) != (pair.kind == "self"):
            yield f"pairs.csv: {pair.name} is called {pair.kind}; self is a video with its own first frame alone"
        if pair.driving not in videos:
            yield f"pairs.csv: {pair.name}: there is no driving video {pair.driving}"
    if not bench.pairs:
        yield "pairs.csv: no rows"


def _content_problems(bench: Bench) -> Iterator[str]:
    """Pictures and videos that are not what their rows say."""
    for portrait in bench.portraits:
        try:
            with open_picture(bench.folder / portrait.file) as image:
                image.load()
                size = image.size
        except NoPictureError as error:
            yield str(error).replace(printable(bench.folder / portrait.file), portrait.file)
            continue
        if size != (portrait.size, portrait.size):
            yield f"{portrait.file}: {size[0]}x{size[1]} pixels, expected {portrait.size}x{portrait.size}"
    for row in bench.driving:
        for problem in _video_problems(bench.folder / row.file, row):
            yield f"{row.file}: {problem}"


def _video_problems(path: Path, row: DrivingRow) -> list[str]:
    try:
        return differs(probe_to_the_end(path), row, row.size)
    except Quarantine as error:
        return [f"cannot be read: {error.message}"]
    except OSError as error:
        return [f"cannot be read: {error.strerror or error}"]


def differs(found: ProbeRow, row: DrivingRow, size: int | None) -> list[str]:
    """How a video differs from a driving video's row: its length and rate, square, of `size` if given, undamaged."""
    problems = []
    if found.damaged:
        problems.append(f"{found.damaged} damaged frames; write it again")
    if found.frames != row.frames:
        problems.append(
            f"{found.frames} frames, the driving video {row.id} has {row.frames}; they must agree one by one"
        )
    if abs(found.fps / row.fps - 1) > RATE_TOLERANCE:
        problems.append(f"{found.fps:.5g} frames a second, the driving video {row.id} has {row.fps:.5g}")
    if found.width != found.height:
        problems.append(f"{found.width}x{found.height} pixels; expected a square, as portraits and drivers are")
    elif size is not None and found.width != size:
        problems.append(f"{found.width}x{found.height} pixels, expected {size}x{size} as the others have")
    return problems


def result_problems(bench: Bench, method: str, videos: Mapping[str, ProbeRow | str]) -> list[str]:
    """All that is wrong with a method's videos: unreadable, of other length or rate, not square, not of one size.

    videos: pair's name -> what its video is, or why it cannot be read.
    """
    problems = []
    sizes = Counter(found.width for found in videos.values() if not isinstance(found, str))
    usual = sizes.most_common(1)[0][0] if sizes else None
    for pair in bench.pairs:
        if pair.name not in videos:
            continue  # named as missing
        found, where = videos[pair.name], f"{method}: {pair.name}.mp4"
        if isinstance(found, str):
            problems.append(f"{where}: cannot be read: {found}")
            continue
        problems += [f"{where}: {problem}" for problem in differs(found, bench.driver(pair), usual)]
    return problems


def _differences(bench: Bench) -> Iterator[str]:
    """How the bench differs from the one that the paper describes."""
    own = [row for row in bench.portraits if not row.frame_of]
    animals = [row for row in own if row.style == "animal" and row.detectable]
    counts = (
        ("portraits", len(own), PAPER_PORTRAITS),
        ("sources of portraits", len({row.source for row in own} - {UNKNOWN}), PAPER_MODELS),
        ("animals with a detectable face", len(animals), PAPER_ANIMALS),
        ("driving videos", len(bench.driving), PAPER_VIDEOS),
    )
    for what, found, wanted in counts:
        if found != wanted:
            yield f"{what}: {found}, the paper has {wanted}"
    styles = {row.style for row in own}
    for style in STYLES:
        if style not in styles:
            yield f"style {style}: no portrait, the paper has some"
    for name in ("style", "source", "licence"):
        missing = [row.id for row in own if getattr(row, name) == UNKNOWN]
        if missing:
            yield f"{name} unknown of {len(missing)} portraits: {_some(missing)}; say it in about.csv, and build again"
    tags = {tag for row in bench.driving for tag in row.tags}
    for tag in PAPER_TAGS:
        if tag not in tags:
            yield f"tag {tag}: no driving video has it, the paper names it"
    for row in bench.driving:
        seconds = row.frames / row.fps
        if abs(seconds - PAPER_SECONDS) > _NEAR_SECONDS:
            about = f"about {PAPER_FRAMES} frames, {PAPER_SECONDS} s"
            yield f"driving video {row.id}: {row.frames} frames, {seconds:.1f} s; the paper has {about}"
    if bench.rejected:
        yield f"{len(bench.rejected)} files were offered and not taken; rejected.csv says which and why"


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")
