"""Who has the page open: the files of each visitor, in a folder that goes with the visit, and what they brought."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from tasks.faces.known_drivers import KnownDrivers
from tasks.studio.driver import SeenDriver
from tasks.studio.portrait import SeenPortrait
from tasks.studio.running import Running

_STEP_S = 20.0  # a run stops behind its current step; what is slower is cut off by the end of the process


class Visit:
    """One open page. folder: its files; portrait, driver: files there; seen: of the portrait; drivers: whose faces were
    followed for it; running: its last run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.portrait: Path | None = None
        self.seen: SeenPortrait | None = None
        self.driver: Path | None = None
        self.seen_driver: SeenDriver | None = None
        self.drivers = KnownDrivers()
        self.running: Running[Any] | None = None

    @property
    def at_work(self) -> bool:
        """Whether a run reads and writes files of the visit."""
        return self.running is not None and not self.running.wait(0)

    def take(self, upload: Path, what: str) -> Path:
        """Move an uploaded file into the visit, in place of an earlier one for the same purpose."""
        return Path(shutil.move(upload, self._new_folder(what) / upload.name))

    def new_output(self) -> Path:
        """A name for the next result, whose folder holds it alone; earlier results are removed."""
        return self._new_folder("result") / "animation.mp4"

    def show(self, picture: Image.Image) -> str:
        """Write a picture into the visit, with which it goes, for the page to show."""
        place = self._new_folder("shown", instead=False) / "picture.png"
        picture.save(place)
        return str(place)

    def _new_folder(self, what: str, instead: bool = True) -> Path:
        """An empty folder. instead: earlier ones for the same purpose are removed, unless a run is at work on them."""
        if instead and not self.at_work:
            for earlier in self.folder.glob(f"{what}-*"):
                shutil.rmtree(earlier, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"{what}-", dir=self.folder))

    def words(self, text: str) -> str:
        """A message as the visitor may read it: files by their names alone."""
        return re.sub(rf"{re.escape(str(self.folder))}/(?:[\w-]+/)?", "", text)

    def end(self) -> None:
        """Stop what runs, remove the files, and forget what was in them."""
        if self.running is not None:
            self.running.stop()
            self.running.wait(_STEP_S)
        self.drivers.forget()
        shutil.rmtree(self.folder, ignore_errors=True)


class Visits:
    """All open pages, by the names that their browsers' sessions have."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, Visit] = {}
        self._lock = threading.Lock()

    def of(self, session: str) -> Visit:
        """The visit of a session, begun where there is none."""
        with self._lock:
            if session not in self._open:
                self._open[session] = Visit(self._folder / secrets.token_urlsafe(16))
            return self._open[session]

    def end(self, session: str) -> None:
        """The page was closed."""
        with self._lock:
            visit = self._open.pop(session, None)
        if visit is not None:
            visit.end()

    def end_all(self) -> None:
        """The studio closes."""
        for visit in list(self._open.values()):
            if visit.running is not None:
                visit.running.stop()
        for session in list(self._open):
            self.end(session)
