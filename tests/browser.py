"""A real browser for tests of pages: headless Chromium by its driver, on a wide window and on a phone's."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.skips import NO_BROWSER

WIDE, PHONE = (1280, 800), (390, 844)
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> tuple[str, str] | None:
    """Paths of Chromium and of its driver; None where one of them is not here."""
    browser = next(filter(None, map(shutil.which, _NAMES)), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@contextmanager
def open_browser(size: tuple[int, int], profile: Path, downloads: Path) -> Iterator[Any]:
    """A browser of this size whose memory is the folder `profile`. A phone's has touch instead of a mouse."""
    found = find_browser()
    if found is None:
        pytest.skip(NO_BROWSER)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = found[0]
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(word)
    options.add_argument(f"--user-data-dir={profile}")
    options.add_argument(f"--window-size={size[0]},{size[1]}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    if size == PHONE:
        metrics = {"width": size[0], "height": size[1], "pixelRatio": 2.0, "mobile": True, "touch": True}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(found[1]))
    try:
        yield browser
    finally:
        _close(browser, profile)


def _close(browser: Any, profile: Path) -> None:
    """Close it as a person does: a browser that is killed loses what its pages wrote down in the last seconds."""
    from selenium.common.exceptions import WebDriverException

    with suppress(WebDriverException):
        browser.execute_cdp_cmd("Browser.close", {})
    end = time.monotonic() + 20
    while (profile / "SingletonLock").is_symlink() and time.monotonic() < end:  # is there while it runs
        time.sleep(0.05)
    browser.quit()


def wait_for(true: Callable[[], Any], seconds: float = 10) -> Any:
    """What `true` gives as soon as it is something; AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.03)
    raise AssertionError("waited in vain")


def sideways_px(browser: Any) -> int:
    """By how many pixels the page is wider than its window: 0 where it does not scroll sideways."""
    root = "document.documentElement"
    return int(browser.execute_script(f"return {root}.scrollWidth - {root}.clientWidth"))


def complaints(browser: Any) -> list[str]:
    """Errors and warnings of the browser's console since it was last asked."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
