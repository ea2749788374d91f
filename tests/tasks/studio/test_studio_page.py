"""The studio's page as it is served: to whom, with what, and in a real browser from a portrait to a video."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fye_model.animation.description import need_description
from fye_model.landmarks.few_points import NAMES
from tasks.animation.progress import Log, Watch
from tasks.animation.request import AnimateRequest
from tasks.engine.held import left_folders
from tasks.faces.known_drivers import ReadDriver
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.studio import PREFIX, StudioSettings, open_studio
from tasks.studio.desk import Desk, Made
from tasks.studio.extra import need_gradio
from tasks.studio.visit import Visits
from tests.browser import PHONE, WIDE, complaints, open_browser, sideways_px, wait_for
from tests.documents import ROOT
from tests.fye_model.animation.tiny import build_tiny, describe_tiny
from tests.tasks.performing import QUICK, SIZE

gradio = pytest.importorskip("gradio")
UPLOAD_MB = 2.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the studio puts its folder."""
    folder = tmp_path_factory.mktemp("temporary")
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    yield folder
    tempfile.tempdir = before


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that was evaluated with one step."""
    folder = tmp_path_factory.mktemp("models") / "quick"
    pipeline = build_tiny()
    pipeline.description = describe_tiny(size=SIZE, sampling=QUICK)
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reached() -> Iterator[set[str]]:
    """Hosts that this process has asked for or connected to while the studio was open."""
    hosts: set[str] = set()
    listening = True

    def listen(event: str, values: tuple[Any, ...]) -> None:
        if listening and event == "socket.getaddrinfo":
            hosts.add(str(values[0]))
        elif listening and event == "socket.connect" and isinstance(values[1], tuple):
            hosts.add(str(values[1][0]))

    sys.addaudithook(listen)  # which cannot be taken away again
    yield hosts
    listening = False


@pytest.fixture(scope="module")
def address(reached: set[str], quick: Path, landmarker_asset: LandmarkerAsset, place: Path) -> Iterator[str]:
    """A studio that is open; behind it nothing is left."""
    settings = StudioSettings(quick, "cpu", port=free_port(), upload_mb=UPLOAD_MB)
    with open_studio(settings, landmarker_asset, lambda line: None) as url:
        assert len(list(place.iterdir())) == 1
        yield url
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("", {}, 200),
        ("", {"host": "studio.example"}, 403),  # another site's name that was made to mean this machine
        ("gradio_api/file=/etc/passwd", {}, 403),
        (f"gradio_api/file={ROOT / 'README.md'}", {}, 403),
        ("gradio_api/file=http://127.0.0.1/x", {}, 403),
        ("gradio_api/file=HTTPS://example.org/x", {}, 403),
        ("gradio_api/proxy=https://example.org/x", {}, 403),
    ],
)
def test_it_serves_its_own_page_to_this_machine_and_nothing_else(
    address: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = httpx.get(address + path, headers=headers)
    assert answer.status_code == status
    if status == 200:
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert 'analytics_enabled":false' in answer.text.replace(" ", "")


def test_it_listens_on_the_loopback_address_alone(address: str) -> None:
    port = httpx.URL(address).port
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)}
    for other in others - {"127.0.0.1"}:
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex((other, port)) != 0, other
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_file_that_is_too_large_is_not_taken_and_does_not_stay(address: str, place: Path) -> None:
    before = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    answer = httpx.post(f"{address}gradio_api/upload", files={"files": ("big.png", bytes(3_000_000))})
    assert answer.status_code == 413 and "maximum allowed size" in answer.text
    assert sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) == before


def files_in(place: Path) -> set[Path]:
    """Those that hold something: gradio leaves an empty one of every upload."""
    return {path for path in place.rglob("*") if path.is_file() and path.stat().st_size}


def test_a_page_of_another_site_cannot_send_anything(address: str, place: Path) -> None:
    """A form or script there needs no leave to send a file here; its browser says where it comes from."""
    before = files_in(place)
    for origin in ("https://example.org", "http://127.0.0.1:1", "null"):
        for path in ("upload", "queue/join"):
            files = {"files": ("portrait.png", b"from elsewhere")}
            answer = httpx.post(f"{address}gradio_api/{path}", files=files, headers={"origin": origin})
            assert answer.status_code == 403 and "another one" in answer.text
    assert files_in(place) == before
    files = {"files": ("portrait.png", b"of this page")}
    own = httpx.post(f"{address}gradio_api/upload", files=files, headers={"origin": address.rstrip("/")})
    assert own.status_code == 200 and files_in(place) != before


def test_a_run_in_place_of_another_has_the_page_for_itself(
    quick: Path, landmarker_asset: LandmarkerAsset, portrait: Path, driver: Path, tmp_path: Path
) -> None:
    from tasks.studio.page import Page

    go_on = threading.Event()

    def make(request: AnimateRequest, preview: bool, log: Log, watch: Watch, follow: ReadDriver) -> Made:
        while not go_on.wait(0.05):
            log("a step")
        return Made(request.output)

    page = Page(Desk(quick, need_description(quick), landmarker_asset, "cpu", make), Visits(tmp_path / "visits"))
    visit = page.visits.of("somebody")
    page.desk.bring_portrait(visit, Path(shutil.copy(portrait, tmp_path)), "largest")
    page.desk.bring_driver(visit, Path(shutil.copy(driver, tmp_path)), 2.0)
    values = (None, None, *(field.value for field in page.fields.values()))
    first = page._run(True, values, visit)
    next(first)
    second = page._run(False, values, visit)
    assert next(second)[1]["visible"], "it can be stopped"
    assert not any("visible" in stop for _, stop, *_ in first), "the one before does not take that away"
    page.desk.clear(visit)
    with pytest.warns(UserWarning, match="in part only"):
        (same,) = page._run(True, values, visit)
    assert same == [gradio.skip()] * 5, "what does not go leaves the run that goes on and its progress"
    go_on.set()
    *_, (status, stop, video, *_) = second
    assert "Done" in status and not stop["visible"] and video["visible"]


def test_a_visitor_cannot_have_an_address_fetched_or_a_file_of_the_machine_read(
    address: str, reached: set[str], tmp_path: Path
) -> None:
    (tmp_path / "mine.png").write_bytes(b"x")
    asked = {"https://example.org/x.png": "not an address", str(tmp_path / "mine.png"): "Cannot move"}
    for number, (path, told) in enumerate(asked.items()):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        call = {"data": [file, "largest", "points"], "fn_index": 0, "session_hash": f"visitor{number}"}
        httpx.post(f"{address}gradio_api/queue/join", json=call).raise_for_status()
        with httpx.stream("GET", f"{address}gradio_api/queue/data?session_hash=visitor{number}", timeout=20) as answer:
            ended = next(line for line in answer.iter_lines() if "process_completed" in line)
        assert '"success":false' in ended.replace(" ", "") and told in ended
    assert "example.org" not in reached and (tmp_path / "mine.png").exists()


def test_a_studio_without_gradio_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=r"pip install 'follow-your-emoji\[studio\]'") as error:
        need_gradio()
    assert "\n" not in str(error.value)


def test_a_port_and_a_size_that_cannot_be_are_told_before_anything_is_loaded(tmp_path: Path) -> None:
    for wrong in ({"port": 0}, {"port": 70_000}, {"upload_mb": 0.0}, {"upload_mb": float("nan")}):
        with pytest.raises(ValueError, match="--" + next(iter(wrong)).replace("_", "-")):
            StudioSettings(tmp_path, **wrong)


def test_ctrl_c_leaves_nothing_also_of_a_studio_that_was_killed_before(
    model: Path, landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # lines come without it
    how: dict[str, Any] = {
        "env": {**usual, "TMPDIR": str(tmp_path), "PYTHONPATH": path},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
    }
    hold = f"""
import pathlib, time
from fye_model.landmarks.few_points import NAMES
from tasks.engine.held import HeldFolder
folder = HeldFolder(pathlib.Path({str(tmp_path)!r}), {PREFIX!r})
(folder.path / "portrait.png").write_text("somebody")
print(folder.path, flush=True)
time.sleep(60)
"""
    killed = subprocess.Popen([sys.executable, "-c", hold], **how)
    left = Path(killed.stdout.readline().strip())
    assert (left / "portrait.png").exists() and left_folders(tmp_path, PREFIX) == [], "its process lives"
    killed.kill()
    killed.communicate()
    port = free_port()
    options = ["--model", str(model), "--device", "cpu", "--port", str(port), "--host", "0.0.0.0"]
    studio = subprocess.Popen([sys.executable, "-m", "flows.cli", "studio", *options], **how)
    told = ""
    while "Ctrl-C closes it" not in told:
        line = studio.stdout.readline()
        assert line, told
        told += line
    assert not left.exists() and len(list(tmp_path.iterdir())) == 1
    assert "no password" in told and f":{port}" in told
    studio.send_signal(signal.SIGINT)
    rest, _ = studio.communicate(timeout=60)
    assert studio.returncode == 0 and "nothing of it is left" in rest and "Traceback" not in rest, rest
    assert list(tmp_path.iterdir()) == []


class Visitor:
    """Somebody at the page."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser = browser
        browser.get(address)
        wait_for(lambda: self.all("#driver input[type=file]"), 20)

    def all(self, selector: str) -> list[Any]:
        return list(self.browser.find_elements("css selector", selector))

    def one(self, selector: str) -> Any:
        return wait_for(lambda: self.all(selector))[0]

    def text(self, selector: str) -> str:
        return str(self.browser.execute_script(f"return document.querySelector('{selector}')?.innerText ?? ''"))

    def bring(self, where: str, path: Path) -> None:
        self.one(f"{where} input[type=file]").send_keys(str(path))

    def click(self, selector: str) -> None:
        self.browser.execute_script("arguments[0].click()", self.one(selector))

    def wait_for_text(self, selector: str, text: str, seconds: float = 20) -> None:
        wait_for(lambda: text in self.text(selector), seconds)

    def click_picture(self, across: float, down: float) -> None:
        """Where in the shown portrait, in parts of its sides."""
        from selenium.webdriver import ActionChains

        picture = self.one("#seen img")
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
        size = picture.size
        x, y = round(size["width"] * (across - 0.5)), round(size["height"] * (down - 0.5))
        ActionChains(self.browser).move_to_element_with_offset(picture, x, y).click().perform()

    def complaints(self) -> list[str]:
        # gradio's own word about every upload that is finished
        return [line for line in complaints(self.browser) if "Method not implemented" not in line]


def test_a_visitor_brings_files_moves_a_point_looks_first_and_has_a_video_that_plays(
    address: str, reached: set[str], place: Path, portrait: Path, driver: Path, tmp_path: Path
) -> None:
    before = files_in(place)
    with open_browser(WIDE, tmp_path / "profile", tmp_path / "downloads") as browser:
        page = Visitor(browser, address)
        (tmp_path / "letter.png").write_text("no picture")
        page.bring("#portrait", tmp_path / "letter.png")
        page.wait_for_text("#portrait-notes", "letter.png: not a readable picture")
        page.click("#portrait button[aria-label='Clear'], #portrait button[title='Clear']")
        page.bring("#portrait", portrait)
        page.wait_for_text("#hint", "A click moves the nearest")
        page.bring("#driver", driver)
        page.wait_for_text("#driver-notes", "0.4 s at 25 frames a second, with sound")
        page.click_picture(0.4, 0.4)
        page.wait_for_text("#portrait-notes", "where it was pointed at")
        page.click("#preview")
        page.wait_for_text("#status", "Done in", 40)
        wait_for(lambda: browser.execute_script("return document.querySelector('#strip img')?.naturalWidth"))
        assert "neutral" in page.text("#notes") and str(place) not in page.text("body")
        page.click("#animate")
        wait_for(lambda: not page.all("#strip img"))
        page.wait_for_text("#status", "Done in", 40)
        length = "const v = document.querySelector('#video video'); return v && v.readyState > 1 ? v.duration : 0"
        assert wait_for(lambda: browser.execute_script(length)) == pytest.approx(9 / 25, abs=0.05)
        played = "const v = document.querySelector('#video video'); v.muted = true; v.play(); return v.currentTime > 0"
        wait_for(lambda: browser.execute_script(played))
        assert sideways_px(browser) == 0
        assert page.complaints() == []
        asked = "return performance.getEntriesByType('resource').map(e => new URL(e.name).origin)"
        assert set(browser.execute_script(asked)) <= {address.rstrip("/"), "null"}
        assert "127.0.0.1" in reached and reached <= {"127.0.0.1", "localhost", socket.gethostname()}
        assert list(place.glob("*/visits/*/result-*/animation.mp4"))
    # the page is closed, and what it showed is gone, too
    wait_for(lambda: not list(place.glob("*/visits/*")), 20)
    assert files_in(place) - before == set()


def test_on_a_phone_a_face_is_marked_by_five_taps(address: str, place: Path, portrait: Path, tmp_path: Path) -> None:
    with open_browser(PHONE, tmp_path / "profile", tmp_path / "downloads") as browser:
        page = Visitor(browser, address)
        assert sideways_px(browser) == 0
        page.bring("#portrait", portrait)
        page.wait_for_text("#hint", "A click moves the nearest")
        page.click("#anew")
        for name, across, down in zip(
            NAMES, (0.37, 0.49, 0.43, 0.39, 0.48), (0.21, 0.22, 0.27, 0.32, 0.32), strict=True
        ):
            page.wait_for_text("#hint", name)
            page.click_picture(across, down)
        page.wait_for_text("#portrait-notes", "where it was pointed at")
        assert sideways_px(browser) == 0
        assert page.complaints() == []
