"""Everything about a machine that a run needs, but for Prefect: looked at in one go, and what is left over cleared."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fye_model.assets import FACE_LANDMARKER
from tasks.doctor.cards import card_checks
from tasks.doctor.check import Check
from tasks.doctor.packages import opencv_check, package_checks, python_check
from tasks.doctor.places import disk_checks, store_checks
from tasks.doctor.processes import Process, end, orphans
from tasks.engine.cluster import left_sessions, session_base
from tasks.engine.store import is_address
from tasks.jobs.assets import look_for

_RAY = "from tasks.engine.cluster import shutdown, start_ray; start_ray(); shutdown()"
_RAY_S = 60.0  # in which Ray starts on any machine


@dataclass(frozen=True)
class Leftovers:
    """What runs that are gone left on this machine."""

    processes: tuple[Process, ...]
    sessions: tuple[Path, ...]

    def check(self) -> Check:
        """The leftovers as a line."""
        told = [f"{process.what} (process {process.id})" for process in self.processes]
        told += [f"{len(self.sessions)} folders of Ray"] if self.sessions else []
        if not told:
            return Check(name="leftovers", state="ok", found="no process or folder of a run that is gone")
        return Check(name="leftovers", state="warn", found=", ".join(told), fix="`fye doctor --clear` ends them")

    def clear(self) -> list[str]:
        """End and remove them; returns what stayed."""
        stayed = [f"{process.what} (process {process.id})" for process in self.processes if not end(process)]
        left_sessions(remove=True)
        return stayed


def leftovers() -> Leftovers:
    """What runs that are gone left on this machine, of this user."""
    return Leftovers(tuple(orphans()), tuple(left_sessions()))


def local_checks(work: str, home: Path) -> Iterator[Check]:
    """Python, packages, cards, landmark model, Ray, disks and the work folder. home: where Prefect keeps its data base.

    Ray starts in a process of its own while the others are looked at.
    """
    ray = start_of_ray()
    yield python_check()
    yield from package_checks()
    yield opencv_check()
    yield from card_checks()
    yield landmark_check()
    places = {"temporary files": Path(tempfile.gettempdir()), "Prefect": home, "Ray": session_base()}
    yield from disk_checks(places if is_address(work) else {"the work folder": Path(work), **places})
    yield from store_checks(work)
    yield ray()


def landmark_check() -> Check:
    """The landmark model that a run would take, by its sha256."""
    (look,) = look_for([FACE_LANDMARKER])
    name, sha256 = "landmark model", FACE_LANDMARKER.sha256
    if look.state == "present":
        return Check(name=name, state="ok", found=f"{look.path}, sha256 {str(sha256)[:12]}… as expected")
    if look.state == "wrong":
        return Check(name=name, state="bad", found=look.problem, fix="delete it, and fye assets fetch face_landmarker")
    told = "not here: a run downloads it, or makes do with one that has no pose and no blendshapes"
    return Check(name=name, state="warn", found=told, fix="fye assets fetch face_landmarker, or FYE_ASSETS=FOLDER")


def start_of_ray() -> Callable[[], Check]:
    """Begin to start and stop Ray as a run does; what is returned waits for it and says how it went."""
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", _RAY], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )

    def end_of_it() -> Check:
        try:
            _, said = process.communicate(timeout=max(1.0, _RAY_S - (time.monotonic() - begun)))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            said = f"it did not start in {_RAY_S:.0f} s"
        if process.returncode == 0:
            return Check(name="Ray", state="ok", found="starts and stops")
        words = [line.strip() for line in said.splitlines() if line.strip()]
        fix = "try --workers 0, which works without Ray; RAY_TMPDIR=FOLDER with a short path and 1 GiB of room"
        return Check(name="Ray", state="bad", found=words[-1][:300] if words else "it ended without a word", fix=fix)

    return end_of_it
