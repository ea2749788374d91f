"""Python, the installed packages against what this software asks for, and the system's libraries that they load."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tasks.doctor.check import Check
from tasks.faces.mediapipe_graph import load_library
from tasks.faces.native import SYSTEM_PACKAGES

US = "follow-your-emoji"
PINS = Path(__file__).parents[2] / "constraints.txt"  # beside the sources; an installed package has none
INSTALL = "pip install -c constraints.txt -e . in the folder of the sources"
_SHOWN = 5


def python_check() -> Check:
    """The version of Python."""
    found = platform.python_version()
    try:
        wanted = str(metadata(US)["Requires-Python"])
    except PackageNotFoundError:
        return Check(name="Python", state="bad", found=f"{found}; {US} is not installed", fix=INSTALL)
    if found not in SpecifierSet(wanted):
        return Check(
            name="Python", state="bad", found=f"{found}, needed is {wanted}", fix="make PYTHON=python3.12 setup"
        )
    return Check(name="Python", state="ok", found=found)


def package_checks(pins: Path = PINS) -> Iterator[Check]:
    """What is asked for and is missing or of another version; and what differs from the versions that were tested.
    Nothing where this software is not installed, which `python_check` says."""
    try:
        wanted = [Requirement(text) for text in requires(US) or []]
    except PackageNotFoundError:
        return
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [problem for one in needed if (problem := _problem(one))]
    if wrong:
        yield Check(name="packages", state="bad", found="; ".join(wrong), fix=INSTALL)
    if not pins.is_file():
        if not wrong:
            yield Check(name="packages", state="ok", found=f"{len(needed)} as asked for")
        return
    others = list(_other_versions(pins))
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        told = f"{len(others)} of other versions than were tested: {', '.join(others[:_SHOWN])}{more}"
        yield Check(name="tested versions", state="warn", found=told, fix=INSTALL)
    elif not wrong:
        yield Check(name="packages", state="ok", found=f"{len(needed)} as asked for, all of the tested versions")


def opencv_check() -> Check:
    """Whether MediaPipe, and OpenCV, which it needs, find their libraries on this system."""
    try:
        import cv2

        load_library()
    except (ImportError, OSError) as error:
        return Check(name="MediaPipe", state="bad", found=f"does not load: {error}", fix=SYSTEM_PACKAGES)
    return Check(name="MediaPipe", state="ok", found=f"loads, with OpenCV {cv2.__version__}")


def _problem(wanted: Requirement) -> str | None:
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return f"{wanted.name} is missing"
    return (
        None if wanted.specifier.contains(found, prereleases=True) else f"{wanted.name} {found}, not {wanted.specifier}"
    )


def _other_versions(pins: Path) -> Iterator[str]:
    """`name 1.2 (tested 1.3)` of every package that is installed. Builds of one version, for CPU or CUDA, are alike."""
    for name, tested in re.findall(r"^([\w.-]+)==(\S+)", pins.read_text(encoding="utf-8"), re.MULTILINE):
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        if Version(found).public != Version(tested).public:
            yield f"{name} {found} (tested {tested})"
