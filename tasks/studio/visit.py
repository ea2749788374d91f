"""Who has the page open: the files of each visitor, in a folder that goes with the visit, and what they brought."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from pathlib import Path
from typing import Any

from tasks.studio.driver import SeenDriver
from tasks.studio.marks import Marks
from tasks.studio.portrait import SeenPortrait
from tasks.studio.running import Running

_STEP_S = 20.0  # a run stops behind its current step; what is slower is cut off by the end of the process


class Visit:
    """One open page. folder: its files; portrait, driver: files there; seen: of the portrait; running: its last run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.portrait: Path | None = None
        self.seen: SeenPortrait | None = None
        self.found = Marks()  # where the landmark model sees the face
        self.driver: Path | None = None
        self.seen_driver: SeenDriver | None = None
        self.running: Running[Any] | None = None
        self._runs = 0

    def take(self, upload: Path, what: str) -> Path:
        """Move an uploaded file into the visit, in place of an earlier one for the same purpose."""
        place = self.folder / what
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return Path(shutil.move(upload, place / upload.name))

    def new_output(self) -> Path:
        """A name for the next result, whose folder holds it alone; earlier results are removed."""
        for earlier in self.folder.glob("result-*"):
            shutil.rmtree(earlier, ignore_errors=True)
        self._runs += 1
        return self.folder / f"result-{self._runs}" / "animation.mp4"

    def words(self, text: str) -> str:
        """A message as the visitor may read it: files by their names alone."""
        return re.sub(rf"{re.escape(str(self.folder))}/(?:[\w-]+/)?", "", text)

    def end(self) -> None:
        """Stop what runs, and remove the files."""
        if self.running is not None:
            self.running.stop()
            self.running.wait(_STEP_S)
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
        for visit in self._open.values():
            if visit.running is not None:
                visit.running.stop()
        for session in list(self._open):
            self.end(session)
