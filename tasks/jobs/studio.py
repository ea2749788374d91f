"""`fye studio`: a page for creators, served until it is interrupted, after which nothing of it is left."""

from __future__ import annotations

import math
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from fye_model.animation.compatibility import check_folder
from fye_model.animation.description import need_description
from fye_model.devices import choose_device
from tasks.animation.progress import Log, Watch
from tasks.animation.request import AnimateRequest
from tasks.engine.held import HeldFolder
from tasks.faces.known_drivers import ReadDriver
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.animate import animate, load_for_animation, preview
from tasks.studio.desk import Desk, Made
from tasks.studio.extra import need_gradio
from tasks.studio.serve import LOOPBACK, is_loopback, keep_quiet, launch
from tasks.studio.visit import Visits

PREFIX = "fye-studio-"
BEYOND = (
    "WARNING: it is served at {host}, beyond this machine. Everybody who reaches it may bring files and have this "
    "machine work on them; there is no password, and what goes over the network can be read on the way. For yourself "
    "on another machine, leave --host out and forward the port: ssh -L 7860:127.0.0.1:7860 THIS-MACHINE"
)


@dataclass(frozen=True)
class StudioSettings:
    """model: a model folder; device: as `fye animate` takes it; host: the address to serve at; port: None takes the
    first free one from 7860 on; upload_mb: how large a file may be that a visitor brings."""

    model: Path
    device: str = "auto"
    host: str = LOOPBACK
    port: int | None = None
    upload_mb: float = 500.0

    def __post_init__(self) -> None:
        if self.port is not None and not 0 < self.port < 1 << 16:
            raise ValueError(f"--port {self.port}: expected 1 to 65535")
        if not 0 < self.upload_mb < math.inf:
            raise ValueError(f"--upload-mb {self.upload_mb:g}: expected a number of megabytes above 0")


@contextmanager
def open_studio(settings: StudioSettings, asset: LandmarkerAsset, log: Log = print) -> Iterator[str]:
    """Serve the page; yields its address. Afterwards runs are stopped and all files of its visitors removed.

    What a studio that was killed left behind is removed, too. Raises ValueError where gradio is not installed, the
    model folder is none, the device is not there, or the address cannot be had.
    """
    need_gradio()
    check_folder(settings.model)
    model = need_description(settings.model)
    device = choose_device(settings.device)
    log(f"device: {device}")
    for line in model.cautions(asset.model):
        log(line)
    pipeline = load_for_animation(settings.model, device, log)

    def make(request: AnimateRequest, only_preview: bool, log: Log, watch: Watch, follow: ReadDriver) -> Made:
        if only_preview:
            return Made(*preview(request, asset, log, pipeline, watch, follow))
        return Made(animate(request, asset, log, pipeline, watch, follow).output)

    usual = tempfile.tempdir
    home = HeldFolder(Path(tempfile.gettempdir()), PREFIX)
    visits = Visits(home.path / "visits")
    try:
        keep_quiet(home.path)
        from tasks.studio.page import Page, look  # imports gradio, which reads what was just said

        page = Page(Desk(settings.model, model, asset, settings.device, make), visits)
        try:
            yield launch(page.blocks, settings.host, settings.port, settings.upload_mb, *look())
        finally:
            visits.end_all()
            page.blocks.close(verbose=False)
    finally:
        home.remove()
        tempfile.tempdir = usual


def serve_studio(settings: StudioSettings, asset: LandmarkerAsset, log: Log = print) -> None:
    """Serve the page until Ctrl-C or SIGTERM. Raises as `open_studio`."""
    with _closing_in_peace() as wait, open_studio(settings, asset, log) as address:
        beyond = [] if is_loopback(settings.host) else [BEYOND.format(host=settings.host)]
        ends = "Ctrl-C closes it; what was brought and made is removed then."
        wait(lambda: log("\n".join([f"\nThe studio is open: {address}", *beyond, ends])))
    log("\nThe studio is closed; nothing of it is left.")


@contextmanager
def _closing_in_peace() -> Iterator[Callable[[Callable[[], None]], None]]:
    """What announces that it is open and waits for SIGINT or SIGTERM. From then on these do nothing more: the files are
    removed undisturbed."""
    told = threading.Event()
    waiting = False
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def tell(number: int, frame: FrameType | None) -> None:
        usual = before[signal.Signals(number)]
        if waiting:
            told.set()
        elif callable(usual):  # there is nothing to close yet
            usual(number, frame)
        else:
            raise KeyboardInterrupt

    def wait(announce: Callable[[], None]) -> None:
        nonlocal waiting
        waiting = True
        announce()
        while not told.wait(0.5):  # an endless wait would not see a signal everywhere
            pass

    try:
        for number in before:
            signal.signal(number, tell)
        yield wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
