"""The review page in a real browser: a thousand clips, lazy pictures, filters, keys, and a file that a run obeys."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flows.cli import app
from tasks.clips import RejectedTrack
from tasks.engine.store import Store
from tasks.jobs.holdings import read_holdings
from tasks.jobs.review import review
from tasks.survey.page import STRIPS, Card, reason_key, write_page
from tasks.survey.strips import strip_names
from tasks.workspace.decisions import read_decisions, take_decisions
from tests.browser import PHONE, WIDE, complaints, open_browser, sideways_px, wait_for
from tests.tasks.survey.made import Take, make_work

LOST = RejectedTrack(reason="other_face", start=3, end=9, frames=6, box=(1.0, 2.0, 30.0, 40.0))
EVIL = "<img src=x onerror=document.title='hit'>\"'&"
TAKES = (
    Take("anna", "anna-one", {"jawOpen": 0.9}, lost=(LOST,), covered=0.02, lettering=0.05, sync=(0.24, 2.31)),
    Take("ben", f"ben-{EVIL}", {}, detected=20, covered=0.31, lettering=0.0, sync=(-0.08, 5.5)),
    Take("carl", "carl-three", {}, colour=60, lettering=0.625),
)
CLIPS = 1000


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    make_work(folder, TAKES, [(f"broken{EVIL}.mp4", "truncated")])
    review(str(folder))
    return folder


@pytest.fixture(scope="module")
def thousand(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a thousand clips in twenty subjects, each with strips of its own."""
    folder = tmp_path_factory.mktemp("thousand")
    strip = next((work / "review" / STRIPS).glob("*-0.jpg"))
    (folder / STRIPS).mkdir()
    cards = []
    for number in range(CLIPS):
        pictures = tuple(f"{STRIPS}/{number}-{half}.jpg" for half in range(2))
        for picture in pictures:
            os.link(strip, folder / picture)
        name = f"s{number % 20}-{number:04d}"
        rejected = ("too dark (screening.brightness)",) if number % 10 == 0 else ()
        keys = tuple(map(reason_key, rejected))
        card = Card(name, "facts", rejected, keys, name, pictures, clip=f"id{number:04d}", kept=not rejected)
        cards.append(card)
    write_page(replace(read_holdings(str(work)), store=Store(folder)), cards, [], {"id0003": False}, folder)
    return folder / "index.html"


@pytest.fixture
def wide(tmp_path: Path) -> Iterator[Any]:
    with open_browser(WIDE, tmp_path / "profile", tmp_path / "downloads") as browser:
        yield browser


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def choose(browser: Any, box: str, value: str) -> None:
    browser.execute_script(
        "const box = document.getElementById(arguments[0]); box.value = arguments[1];"
        "box.dispatchEvent(new Event(box.tagName === 'SELECT' ? 'change' : 'input'));",
        box,
        value,
    )


def visible(browser: Any) -> int:
    return int(browser.execute_script("return document.querySelectorAll('article:not([hidden])').length"))


def loaded(browser: Any) -> int:
    return int(browser.execute_script("return [...document.images].filter(i => i.naturalWidth > 0).length"))


def test_a_thousand_clips_open_at_once_and_load_the_pictures_that_are_seen(wide: Any, thousand: Path) -> None:
    begun = time.monotonic()
    wide.get(thousand.as_uri())
    seconds = time.monotonic() - begun
    assert visible(wide) == CLIPS
    wait_for(lambda: loaded(wide) > 8)
    first = loaded(wide)
    assert first < 100, "only what is near the window"
    choosing = wide.execute_script(
        "const t = performance.now(); document.getElementById('reason').value = 'brightness';"
        "document.getElementById('reason').dispatchEvent(new Event('change'));"
        "document.body.getBoundingClientRect(); return performance.now() - t"
    )
    assert visible(wide) == CLIPS // 10
    choose(wide, "reason", "")
    press(wide, "\ue010")  # End
    wait_for(lambda: loaded(wide) > first)
    assert loaded(wide) < 200, "a jump to the end loads nothing between"
    print(f"opened in {seconds:.2f} s, {first} pictures at first, filtered in {choosing:.0f} ms")
    assert seconds < 10 and choosing < 1000
    assert complaints(wide) == []


def test_clips_are_kept_and_rejected_by_key_and_the_saved_file_is_one_that_a_run_obeys(
    wide: Any, thousand: Path, tmp_path: Path
) -> None:
    wide.get(thousand.as_uri())
    choose(wide, "find", "s1-")
    assert visible(wide) == CLIPS // 20
    wide.execute_script("document.activeElement.blur()")
    press(wide, "r", "k", "r", "\ue013", "u")  # id0001 out, id0021 in, id0041 out; back to it: as the rules say
    choose(wide, "find", "s3-")
    press(wide, "u")  # id0003, which was decided before
    choose(wide, "find", "")
    choose(wide, "state", "decided")
    assert visible(wide) == 2
    wide.refresh()
    choose(wide, "state", "decided")
    assert visible(wide) == 2, "kept over a reload"
    press(wide, "s")
    saved = tmp_path / "downloads" / "decisions.json"
    wait_for(saved.exists)
    store = Store(tmp_path / "store")
    assert take_decisions(store, saved)[1] == 3
    assert {clip: decision.keep for clip, decision in read_decisions(store).items()} == {
        "id0001": False,
        "id0021": True,
    }
    assert read_decisions(store)["id0001"].name == "s1-0001"


def test_names_are_text_and_everything_lost_has_a_reason(wide: Any, work: Path) -> None:
    wide.get((work / "review" / "index.html").as_uri())
    assert wide.title.startswith("Review of") and complaints(wide) == []
    names = wide.execute_script("return [...document.querySelectorAll('.name')].map(e => e.textContent)")
    assert f"ben-{EVIL}-000" in names and f"broken{EVIL}.mp4" in names
    assert wide.execute_script("return document.querySelectorAll('.name *').length") == 0
    for reason, name in (("min_detection_rate", "ben"), ("other_face", "anna"), ("truncated", "broken")):
        choose(wide, "reason", reason)
        shown = wide.execute_script("return document.querySelector('article:not([hidden]) .name').textContent")
        assert visible(wide) == 1 and shown.startswith(name)


def test_signs_and_fit_of_the_sound_are_told_and_put_clips_in_order(wide: Any, work: Path) -> None:
    wide.get((work / "review" / "index.html").as_uri())
    facts = wide.execute_script("return [...document.querySelectorAll('article.kept .facts')].map(e => e.textContent)")
    assert "covered 2% · lettering 5% of the width · sound 0.24 s before the lips (confidence 2.3)" in facts[0]
    assert "lettering 62% of the width" in facts[1] and "covered" not in facts[1] and "sound" not in facts[1]

    def first_letters(order: str) -> str:
        choose(wide, "order", order)
        return str(
            wide.execute_script("return [...document.querySelectorAll('.name')].map(e => e.textContent[0]).join('')")
        )

    lost = "ab"  # the face that was followed beside anna, and the broken file
    assert first_letters("covered") == "bac" + lost, "what was not measured comes last"
    assert first_letters("lettering") == "cab" + lost
    assert first_letters("offset") == "abc" + lost
    assert first_letters("confidence") == "abc" + lost
    press(wide, "\ue015", "\ue015")  # down
    assert wide.execute_script("return document.querySelector('.here .name').textContent").startswith("carl")
    assert first_letters("") == "abc" + lost
    assert complaints(wide) == []


def test_only_what_was_measured_is_offered_to_be_put_in_order_by(wide: Any, thousand: Path) -> None:
    wide.get(thousand.as_uri())
    assert wide.execute_script("return document.getElementById('order')") is None


def test_on_a_phone_nothing_scrolls_sideways_and_buttons_decide(work: Path, tmp_path: Path) -> None:
    with open_browser(PHONE, tmp_path / "profile", tmp_path / "downloads") as browser:
        browser.get((work / "review" / "index.html").as_uri())
        assert sideways_px(browser) == 0
        browser.execute_script("document.querySelector('article [data-do=reject]').click()")
        assert "decided by hand" in browser.execute_script(
            "return document.querySelector('article .state').textContent"
        )


def test_strips_show_every_part_and_are_made_once(work: Path) -> None:
    holdings = read_holdings(str(work))
    strips = work / "review" / STRIPS
    for clip in holdings.clips:
        for name in strip_names(clip):
            with Image.open(strips / name) as picture:
                assert picture.size == (576, 192)
                pixels = np.asarray(picture, float)
                if clip.subject == "carl":  # a grey picture: what is not grey was drawn
                    assert (pixels.min(axis=2) > 200).sum() > 200, "landmarks"
                    assert (np.ptp(pixels, axis=2) > 8).mean() > 0.1, "masks"
    (track,) = strips.glob("track-*.jpg")
    before = {path: path.stat().st_mtime_ns for path in strips.iterdir()}
    (strips / "old-0.jpg").write_bytes(track.read_bytes())
    review(str(work))
    assert {path: path.stat().st_mtime_ns for path in strips.iterdir()} == before


def test_the_next_run_obeys_what_was_brought_in_and_the_page_tells_both(tmp_path: Path) -> None:
    work = tmp_path / "work"
    make_work(work, TAKES)
    clips = {clip.subject: clip for clip in read_holdings(str(work)).clips}
    saved = tmp_path / "decisions.json"
    chosen = {clips["anna"].clip: {"keep": False}, clips["ben"].clip: {"keep": True}}
    saved.write_text(json.dumps({"schema": 1, "decisions": chosen}))
    assert app(["review", "--work", str(work), "--take", str(saved)], result_action="return_value") == 0
    make_work(work, TAKES)
    after = {clip.subject: clip for clip in read_holdings(str(work)).clips}
    assert (after["anna"].kept, after["anna"].by_hand) == (False, True)
    assert (after["ben"].kept, after["ben"].by_hand) == (True, True) and after["ben"].reasons
    assert after["carl"].kept and not after["carl"].by_hand
    text = review(str(work)).page.read_text()
    assert f'"{clips["anna"].clip}": false' in text
    assert 'class="kept" data-clip="' + clips["anna"].clip in text, "what the rules say stays told"


def test_a_page_of_nothing_is_refused(work: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no clip .* is kept of subject zoe; the subjects are anna"):
        review(str(work), which="kept", subject="zoe")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is a file"):
        review(str(work), tmp_path / "file")
