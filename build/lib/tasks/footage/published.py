"""The collectors' own lists of spans: HDTF's text files and VFHQ's annotations, read as they are published.

Forms: HDTF, <group>_annotion_time.txt (`<video>.mp4 MM:SS-MM:SS …`) and <group>_video_url.txt (`<video> <address>`) of
github.com/MRzzm/HDTF; VFHQ, one file a clip, named `Clip+<video>+P<person>+C<clip>+F<first>-<last>.txt`, with a line
`FPS: <rate>`. A clip's frames are those between the first and the last, both left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.footage.card import Card

_SECONDS = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)")
_VFHQ = re.compile(r"Clip\+([\w-]{11})\+P\d+\+C\d+\+F(\d+)-(\d+)")


@dataclass(frozen=True)
class ListedSpan:
    """One span that a list names.

    clip: what a file is called that holds this span alone. video, address: where it is from. other_names: of the same
    clip. fps: of its frames, where the list says it.
    """

    clip: str
    video: str
    group: str
    address: str | None
    start_s: float
    end_s: float
    fps: float | None = None
    other_names: tuple[str, ...] = ()

    @property
    def video_names(self) -> tuple[str, ...]:
        """What a file is called that holds the whole video."""
        grouped = (f"{self.group}_{self.video}", f"{self.group}/{self.video}") if self.group else ()
        return (*grouped, self.video, *((identifier(self.address),) if self.address else ()))


@dataclass(frozen=True)
class PublishedLists:
    """The spans of a source's lists, and what in the lists cannot be used."""

    spans: tuple[ListedSpan, ...]
    problems: tuple[str, ...]

    @property
    def videos(self) -> set[tuple[str, str]]:
        """(group, video) of every listed video."""
        return {(span.group, span.video) for span in self.spans}


def read_lists(card: Card, folder: Path) -> PublishedLists:
    """The lists of a source in a folder. Raises ValueError where the source has none, or the folder lacks them."""
    readers: dict[str, Callable[[Card, Path, list[str]], Iterator[ListedSpan]]] = {"hdtf": _hdtf, "vfhq": _vfhq}
    if card.lists is None:
        raise ValueError(f"{card.name} has no published lists of spans; only hdtf and vfhq (and cards like them) do")
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give the folder of {card.title}'s lists, from {card.address}")
    problems: list[str] = []
    spans = tuple(readers[card.lists](card, folder, problems))
    if not spans:
        wanted = "*_annotion_time.txt and *_video_url.txt" if card.lists == "hdtf" else "Clip+…+P…+C…+F…-….txt"
        raise ValueError(f"{folder} holds no span of {card.title}: expected {wanted}, from {card.address}")
    return PublishedLists(spans, tuple(problems))


def identifier(address: str) -> str:
    """The video's identifier in an address."""
    found = re.search(r"(?:v=|youtu\.be/|shorts/|embed/)([\w-]{11})", address)
    return found[1] if found else address


def _hdtf(card: Card, folder: Path, problems: list[str]) -> Iterator[ListedSpan]:
    for group in card.groups:
        times, addresses = folder / f"{group}_annotion_time.txt", folder / f"{group}_video_url.txt"
        if not times.is_file():
            problems.append(f"{times.name} is not in {folder}: the spans of group {group} are not known")
            continue
        known = dict(line for line in _fields(addresses)) if addresses.is_file() else {}
        for name, spans in _fields(times):
            video = name.removesuffix(".mp4")
            for index, text in enumerate(spans.split()):
                ends = [_seconds(part) for part in text.split("-")]
                if len(ends) != 2 or ends[0] is None or ends[1] is None or not ends[0] < ends[1]:
                    problems.append(f"{times.name}, {name}: {text!r} is no span such as 00:05-01:35")
                    continue
                clip, other = f"{video}_{index}", f"{group}_{video}_{index:03d}"
                address = known.get(video)
                names = (other, f"{group}_{video}_{index}", f"{group}/{clip}")
                yield ListedSpan(clip, video, group, address, ends[0], ends[1], other_names=names)


def _vfhq(card: Card, folder: Path, problems: list[str]) -> Iterator[ListedSpan]:
    for path in sorted(folder.rglob("Clip+*.txt")):
        name = _VFHQ.fullmatch(path.stem)
        rate = re.search(r"^FPS\D*([\d.]+)\s*$", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        fps = float(rate[1]) if rate and rate[1].count(".") < 2 and rate[1] != "." else 0.0
        if name is None or fps <= 0 or int(name[3]) - int(name[2]) < 2:
            what = "its name has another form" if name is None else "it has no FPS line" if fps <= 0 else "it is empty"
            problems.append(f"{path.name}: {what}")
            continue
        first, end = int(name[2]) + 1, int(name[3])
        address = f"https://www.youtube.com/watch?v={name[1]}"
        yield ListedSpan(path.stem, name[1], "", address, first / fps, end / fps, fps)


def _fields(path: Path) -> Iterator[tuple[str, str]]:
    """(first word, the rest) of every line that has both."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        first, _, rest = line.strip().partition(" ")
        if rest.strip():
            yield first, rest.strip()


def _seconds(text: str) -> float | None:
    """Seconds of MM:SS or HH:MM:SS."""
    found = _SECONDS.fullmatch(text)
    return int(found[1] or 0) * 3600 + int(found[2]) * 60 + float(found[3]) if found else None
