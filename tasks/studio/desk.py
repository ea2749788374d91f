"""What the page's controls do, without the page: files are looked at, the face is marked, a run is started."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fye_model.animation.description import ModelDescription
from fye_model.animation.driving import USUAL_FPS
from tasks.animation.progress import Log, Watch
from tasks.animation.request import AnimateRequest
from tasks.animation.sampling import sampling_of
from tasks.faces.known_drivers import ReadDriver
from tasks.faces.landmarker import LandmarkerAsset
from tasks.studio.choices import Choices
from tasks.studio.driver import see_driver
from tasks.studio.marks import Marks, Point, Tool
from tasks.studio.portrait import see_marked, see_portrait
from tasks.studio.running import Running
from tasks.studio.visit import Visit


@dataclass(frozen=True)
class Made:
    """What a run made. strip: of a preview, the picture with driver, drawn landmarks and result."""

    video: Path
    strip: Path | None = None


# the flag: only a preview; the last one reads the driver
Make = Callable[[AnimateRequest, bool, Log, Watch, ReadDriver], Made]


class Desk:
    """Serves every visitor with one model. make: animates, or makes a preview. device: as `fye animate` takes it."""

    def __init__(
        self, model: Path, description: ModelDescription, asset: LandmarkerAsset, device: str, make: Make
    ) -> None:
        self.model, self.description, self.asset, self.device = model, description, asset, device
        self._make = make
        self._turn = threading.Lock()

    def bring_portrait(self, visit: Visit, upload: Path, face: str) -> None:
        """Take a portrait and find its face. Raises ValueError for what cannot be read; nothing of it stays then."""
        visit.portrait = visit.seen = None
        path = visit.take(upload, "portrait")
        Choices(face=face).settings({})
        seen = see_portrait(path, self.description, self.asset, face)
        visit.portrait, visit.seen = path, seen

    def find_again(self, visit: Visit, face: str) -> None:
        """Forget what the visitor marked, and find the face that is wanted now. Raises ValueError."""
        if visit.portrait is not None and visit.seen is not None:
            Choices(face=face).settings({})
            visit.seen = see_portrait(visit.portrait, self.description, self.asset, face, visit.seen.picture)

    def click(self, visit: Visit, shown: Point, tool: Tool) -> None:
        """A click on the shown picture, in its pixels. Raises ValueError for marks that make no face; they stay."""
        if visit.portrait is None or visit.seen is None:
            return
        place = visit.seen.place(shown, tool)
        visit.seen = replace(visit.seen, marks=visit.seen.marks.clicked(place, tool))
        visit.seen = see_marked(visit.portrait, self.description, self.asset, visit.seen)

    def clear(self, visit: Visit) -> None:
        """Take all marks away, to set them anew one after another."""
        if visit.seen is not None:
            visit.seen = replace(visit.seen, marks=Marks(ours=True))

    def bring_driver(self, visit: Visit, upload: Path, still_s: float) -> None:
        """Take a driver and look at it. Raises ValueError for what cannot be read; nothing of it stays then."""
        visit.driver = visit.seen_driver = None
        path = visit.take(upload, "driver")
        Choices(still_s=still_s).settings({})
        visit.seen_driver = see_driver(path, self.description.fps or USUAL_FPS, still_s)
        visit.driver = path

    def request(self, visit: Visit, choices: Choices, steps: int | None, seed: int | None) -> AnimateRequest:
        """What `fye animate` would be asked for. steps, seed: the model's, if None. Raises ValueError for what is
        missing or does not go; the result before stays then."""
        if visit.portrait is None or visit.seen is None:
            raise ValueError("there is no portrait yet: give one in step 1")
        if visit.driver is None:
            raise ValueError("there is nothing yet that drives it: give a video in step 2")
        marks = visit.seen.marks
        if marks.ours and not marks.said:
            raise ValueError("the face is marked in part only: set the rest in step 1, or go back to the face as found")
        settings = choices.settings(marks.said)
        wanted = {name: value for name, value in (("steps", steps), ("seed", seed)) if value is not None}
        sampling = sampling_of(self.model, wanted)
        return AnimateRequest(
            portrait=visit.portrait,
            driving=visit.driver,
            model=self.model,
            output=visit.new_output(),
            sampling=sampling,
            device=self.device,
            **dict(settings),
        )

    def start(
        self, visit: Visit, choices: Choices, steps: int | None, seed: int | None, preview: bool
    ) -> Running[Made]:
        """Begin to make it, in a thread, in place of a run that goes on. Raises ValueError as `request`; it goes on."""
        request = self.request(visit, choices, steps, seed)
        if visit.running is not None:
            visit.running.stop()
        follow = visit.drivers.read
        visit.running = Running(lambda log, watch: self._make(request, preview, log, watch, follow), self._turn)
        return visit.running
