"""Which videos lie inside the report and which beside it, and how the page behaves in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.report import write_report
from tests.browser import PHONE, WIDE, complaints, open_browser, sideways_px, wait_for
from tests.tasks.report.made import Page


def test_a_large_video_lies_beside_the_report(
    ingredients: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.results.report_pictures.INLINE_VIDEO_BYTES", 100)
    page = Page(write_report(out_dir=tmp_path, **ingredients).read_text())
    beside = [address for address in page.addresses if not address.startswith("data:")]
    worst_first = ["videos/bad.mp4", "videos/middle.mp4", "videos/good.mp4"]
    assert beside[:3] == worst_first and len(beside) == 5
    assert all((tmp_path / address).stat().st_size > 100 for address in beside)


def test_clips_beyond_the_first_are_shown_by_videos_beside_the_report(
    ingredients: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.results.report_pictures.MOST_IN_FULL", 1)
    page = Page(write_report(out_dir=tmp_path, **ingredients).read_text())
    beside = [address for address in page.addresses if not address.startswith("data:")]
    assert beside[:2] == ["videos/middle.mp4", "videos/good.mp4"] and page.tags.count("video") == 5
    assert all((tmp_path / address).is_file() for address in beside)
    assert "The others, by their videos alone" in page.text


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_in_a_browser_nothing_scrolls_sideways_but_tables_and_videos_play_in_a_loop(
    size: tuple[int, int], report: Path, tmp_path: Path
) -> None:
    with open_browser(size, tmp_path / "profile", tmp_path) as browser:
        browser.get(report.as_uri())
        browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
        assert sideways_px(browser) == 0
        outside = """
            const width = document.documentElement.clientWidth;
            return [...document.querySelectorAll('main *')]
              .filter((each) => !each.closest('.scroll') && each.getBoundingClientRect().right > width + 1)
              .map((each) => `${each.tagName} ${each.className}`)"""
        assert browser.execute_script(outside) == []
        broken = "return [...document.images].filter((each) => !each.naturalWidth).map((each) => each.alt)"
        assert wait_for(lambda: browser.execute_script("return [...document.images].every((one) => one.complete)"))
        assert browser.execute_script(broken) == []
        browser.execute_script(
            "const video = document.querySelector('video'); video.scrollIntoView({block: 'center'}); window.rounds = 0;"
            "video.addEventListener('seeked', () => { window.rounds += 1; })"
        )
        wait_for(lambda: browser.execute_script("return window.rounds > 1"))
        assert complaints(browser) == []
