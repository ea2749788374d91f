"""From files and tables to pieces of footage: whom each shows, its name, licence and side, and its content's hash."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from tasks.engine.store import HashMemory, digest, is_address
from tasks.footage.card import DEFAULT_CARD, Card, Naming, load_card, merged, plain_subject, read_name
from tasks.footage.listing import Entry, Found, list_files, look_at_frames
from tasks.footage.manifest import MANIFEST_SUFFIXES, Row, read_manifest
from tasks.footage.shards import Shard
from tasks.footage.splits import Side
from tasks.media.opening import printable

Problem = tuple[str, str]  # a reason as a slug, and in words


@dataclass(frozen=True)
class Root:
    """A folder of videos, or a table of footage. With `subject`, all of it shows that one person (a captured subject).

    card: the name or file of the source that it is of (`datasets/<name>/source.yaml`).
    """

    path: str
    subject: str | None = None
    card: str | None = None
    follow_links: bool = False


@dataclass(frozen=True)
class Source:
    """One span of one video file; `problem` says why it cannot be taken.

    passed_over: it is no footage, which is told and is nothing bad. fps: of a folder of pictures. recorded: the day or
    year that a table says, see `Row`.
    """

    path: str
    name: str
    subject: str
    sha256: str
    size: int
    problem: Problem | None = None
    passed_over: bool = False
    start_s: float = 0.0
    end_s: float | None = None
    fps: float | None = None
    card: str = DEFAULT_CARD
    licence: str | None = None
    split: Side | None = None
    take: str | None = None
    place: str | None = None
    recorded: str | None = None
    by_layout: bool = True

    @property
    def id(self) -> str:
        """Made of its bytes and its span: a moved or renamed file is the same source."""
        whole = self.start_s == 0 and self.end_s is None
        return (self.sha256 if whole else digest([self.sha256, self.start_s, self.end_s]))[:16]


def is_manifest(path: Path) -> bool:
    """Whether a root is a table instead of a folder."""
    return path.suffix.lower() in MANIFEST_SUFFIXES and path.is_file()


@dataclass(frozen=True)
class Reading:
    """What is read of the files: without `hashes` nothing, and with a `shard` those of it, the others are left out."""

    hashes: HashMemory | None = None
    shard: Shard | None = None

    def __call__(self, source: Source, key: str) -> Source:
        """The source with the hash and size of its file, or why it is not taken. key: its name for shards."""
        if self.shard is not None and not self.shard.has(key):
            return replace(source, problem=("other_shard", f"not of shard {self.shard}"), passed_over=True)
        return source if self.hashes is None or source.size else _hashed(source, self.hashes)


def sources_of(root: Root, reading: Reading) -> Iterator[Source]:
    """Everything of a root in order, each known by its content as far as that is read, else by its place."""
    card = load_card(root.card or DEFAULT_CARD)
    path = Path(root.path)
    if is_manifest(path):
        yield from _of_manifest(root, card, path, reading)
        return
    if not path.is_dir():
        problem = ("missing", f"{path} is not there any more; bring it back, or take it out of dataset.json")
        yield Source(str(path), path.name, root.subject or path.name, digest(str(path)), 0, problem)
        return
    for entry in list_files(path, root.follow_links, card.frame_folders):
        yield _of_entry(root, card, entry, reading)


def _of_entry(root: Root, card: Card, entry: Entry, reading: Reading) -> Source:
    relative = _relative(Path(root.path), entry.path)
    naming = read_name(card, relative)
    source = _described(root, card, entry.path, relative, naming)
    if entry.found in (Found.PROBLEM, Found.PASSED_OVER):
        return replace(source, problem=(entry.reason, entry.message), passed_over=entry.found == Found.PASSED_OVER)
    if entry.found == Found.FRAMES:
        if card.frame_rate is None:
            return replace(source, problem=("no_rate", _no_rate(entry.path, card)))
        source = replace(source, fps=card.frame_rate)
    return reading(source, relative.as_posix())


def _of_manifest(root: Root, card: Card, table: Path, reading: Reading) -> Iterator[Source]:
    rows, bad = read_manifest(table)
    for problem in bad:
        where = f"{table}, line {problem.line}" + (f" ({printable(problem.uri)})" if problem.uri else "")
        name = PurePosixPath(problem.uri or f"line {problem.line}").stem
        told = ("bad_row", f"{where}: {problem.message}; correct the line")
        yield Source(str(table), printable(name), root.subject or name, digest(where), 0, told)
    for row in rows:
        yield _of_row(root, card, table, row, reading)


def _of_row(root: Root, card: Card, table: Path, row: Row, reading: Reading) -> Source:
    remote = is_address(row.uri) and not row.uri.startswith("file://")
    place = row.uri if remote else str(table.parent / row.uri.removeprefix("file://"))
    relative = PurePosixPath(printable(row.uri.partition("://")[2] if remote else row.uri).lstrip("/"))
    naming = read_name(card, relative)
    subject = root.subject or (merged(row.subject, card.aliases) if row.subject else None)
    if subject is None:
        subject = (
            naming.subject
            if naming.by_layout and card.name != DEFAULT_CARD
            else plain_subject(
                PurePosixPath(relative.name) if PurePosixPath(row.uri).is_absolute() or remote else relative
            )
        )
    source = replace(
        _described(root, card, Path(place), relative, naming),
        path=place,
        subject=subject,
        name=printable(row.name) if row.name else _span_name(relative.stem, row.start_s, row.end_s),
        start_s=row.start_s,
        end_s=row.end_s,
        licence=row.licence or card.licence.of_the_videos.text,
        split=row.split or _side(card, subject),
        recorded=row.recorded,
        fps=row.fps,
    )
    if remote:
        if row.fps is not None:
            return replace(source, problem=_rate_of_a_file(place, table))
        if row.sha256 is not None and row.size is not None:
            source = replace(source, sha256=row.sha256, size=row.size)
        return reading(source, row.uri)
    problem = _why_not(Path(place), row, card, table)
    return reading(source, printable(row.uri)) if problem is None else replace(source, problem=problem)


def _why_not(path: Path, row: Row, card: Card, table: Path) -> Problem | None:
    """Why the file or folder that a row names cannot be taken."""
    name = printable(str(path))
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return None if row.fps is None else _rate_of_a_file(str(path), table)
        if not stat.S_ISDIR(mode):
            return "no_file", f"{name}: a pipe, socket or device; remove the line"
        entry = look_at_frames(path)
    except (FileNotFoundError, NotADirectoryError):
        return "missing", f"{name} is not there; {table.name} names it"
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        said = getattr(error, "strerror", None) or error
        return "unreadable", f"{name}: {said}; change its permissions, or correct the line in {table.name}"
    if entry.found != Found.FRAMES:
        return entry.reason, entry.message
    return ("no_rate", _no_rate(path, card)) if row.fps is None else None


def _rate_of_a_file(place: str, table: Path) -> Problem:
    what = f"fps is of a folder of numbered pictures, and {printable(place)} is a file with times of its own"
    return "rate_of_a_file", f"{what}; take fps out of its line in {table.name}"


def _described(root: Root, card: Card, path: Path, relative: PurePosixPath, naming: Naming) -> Source:
    """A source whose content is not known yet."""
    name = "-".join(relative.with_suffix("").parts)
    subject = root.subject or naming.subject
    return Source(
        path=str(path),
        name=f"{root.subject}-{name}" if root.subject is not None else name,
        subject=subject,
        sha256=digest(str(path)),
        size=0,
        card=card.name,
        licence=card.licence.of_the_videos.text,
        split=_side(card, subject),
        take=naming.take,
        place=naming.place,
        by_layout=naming.by_layout,
    )


def _hashed(source: Source, hashes: HashMemory) -> Source:
    """The source with the hash and size of its file, or the reason why it cannot be read."""
    try:
        sha256, size = hashes.digest_of(source.path)
    except (OSError, ImportError, ValueError) as error:  # ImportError: an address whose file system is not installed
        said = getattr(error, "strerror", None) or error
        told = f"{printable(source.path)}: {said}; change its permissions or remove it"
        return replace(source, problem=("unreadable", told))
    return replace(source, sha256=sha256, size=size)


def _side(card: Card, subject: str) -> Side | None:
    """Where a published list puts a subject."""
    if not card.held_out_subjects:
        return None
    return "val" if subject in card.held_out_subjects else "train"


def _relative(root: Path, path: Path) -> PurePosixPath:
    below = path.relative_to(root) if path.is_relative_to(root) and path != root else Path(path.name)
    return PurePosixPath(printable(below.as_posix()))


def _span_name(stem: str, start_s: float, end_s: float | None) -> str:
    if start_s == 0 and end_s is None:
        return stem
    return f"{stem}@{start_s:g}-{'' if end_s is None else f'{end_s:g}'}"


def _no_rate(path: Path, card: Card) -> str:
    advice = (
        f"`fye sources manifest {card.name}` takes the rates from the published lists"
        if card.lists
        else "write `frame_rate` into a source.yaml of your own"
    )
    return (
        f"{printable(str(path))}: nothing says how many of its pictures make a second; {advice}, or give fps in a table"
    )
