"""The page in a real browser, wide and on a phone: ranked, closed half-way, reopened, downloaded, scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.jobs.score_study import score_study
from tasks.study.manifest import PAGE_FOLDER, QUESTIONS, Study
from tests.browser import PHONE, WIDE, complaints, open_browser, sideways_px, wait_for

# Best first, by method: what this rater thinks under each question.
TASTE = {
    "expression": ("theirs", "ours", "third"),
    "identity": ("third", "theirs", "ours"),
    "overall": ("theirs", "third", "ours"),
}


class Rater:
    """Somebody before the page, with a keyboard or with a finger."""

    def __init__(self, browser: Any, study: Study, address: str, by: str) -> None:
        self.browser, self.by = browser, by
        self.slots = {case.id: {method: letter for letter, method in case.slots.items()} for case in study.cases}
        browser.get(address)

    def element(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)

    def script(self, words: str) -> Any:
        return self.browser.execute_script(f"return {words}")

    def press(self, key: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).send_keys(key).perform()

    def tap(self, selector: str) -> None:
        """A finger's tap, as the browser's own input: what covers an element gets it instead."""
        place = self.script(
            f"(() => {{ const e = document.querySelector('{selector}'); e.scrollIntoView({{block: 'center'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        point = {"x": place[0], "y": place[1]}
        self.browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
        self.browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def begin(self, name: str) -> None:
        from selenium.webdriver.common.keys import Keys

        self.element("#name").send_keys(name)
        if self.by == "keyboard":
            self.element("#name").send_keys(Keys.ENTER)
        else:
            self.tap("#begin button")
        wait_for(lambda: self.element("#rating").is_displayed())

    def letters(self) -> list[str]:
        """The open case's letters as this rater ranks them under the open question."""
        case, question = self.script("[theCase().id, theQuestion().id]")
        return [self.slots[case][method] for method in TASTE[question]]

    def rank(self) -> None:
        """All but the last, which needs no tap; then on."""
        from selenium.webdriver.common.keys import Keys

        before, letters = self.script("state.at.join()"), self.letters()
        for letter in letters[:-1]:
            if self.by == "keyboard":
                self.press(letter)
            else:
                self.tap(f".tile[data-letter={letter}]")
        wait_for(lambda: self.element("#next").text == "Next")
        shown = [tile.text.split()[0] for tile in self.browser.find_elements("css selector", ".tile")]
        assert shown == [str(1 + letters.index(letter)) for letter in sorted(letters)]
        if self.by == "keyboard":
            self.press(Keys.ENTER)
        else:
            self.tap("#next")
        wait_for(lambda: self.script("state.at.join()") != before or self.element("#end").is_displayed())


@pytest.mark.parametrize(("by", "size"), [("keyboard", WIDE), ("tap", PHONE)])
def test_a_study_is_ranked_closed_half_way_reopened_downloaded_and_scored(
    by: str, size: tuple[int, int], built: tuple[Path, Study], tmp_path: Path
) -> None:
    folder, study = built
    address = (folder / PAGE_FOLDER / "index.html").as_uri()
    asked = len(study.cases) * len(QUESTIONS)
    half = asked // 2 + 1
    with open_browser(size, tmp_path / "profile", tmp_path) as browser:
        rater = Rater(browser, study, address, by)
        assert sideways_px(browser) == 0
        rater.begin("number <7>")
        for _ in range(half):
            rater.rank()
        assert sideways_px(browser) == 0
        rater.press(rater.letters()[0])  # a ranking that is begun and not finished
        order = rater.script("state.order")
        assert complaints(browser) == []
    with open_browser(size, tmp_path / "profile", tmp_path) as browser:
        rater = Rater(browser, study, address, by)
        assert f"{half} of {asked} rankings are done on this device" in rater.element("#start").text
        assert rater.element("#name").get_attribute("value") == "number <7>"
        rater.begin("")
        assert rater.script("[state.order, state.at]") == [order, [half // 3, half % 3]]
        rater.element("#rating .download").click()
        early = _downloaded(tmp_path, 1)
        rater.press(rater.script("ranks()[0]"))  # taken out again
        for _ in range(asked - half):
            rater.rank()
        assert "Thank you: everything is ranked" in rater.element("#end").text
        assert sideways_px(browser) == 0
        rater.element("#end .download").click()
        late = _downloaded(tmp_path, 2)
        assert json.loads(rater.element("#text").get_attribute("value")) == json.loads(late.read_text())
        assert complaints(browser) == []

    partly = score_study(folder, [early], tmp_path / "partly")
    assert partly.raters[0].rankings == half and partly.raters[0].half == 1
    found = score_study(folder, [early, late], tmp_path / "scores")
    assert [file.file for file in found.left_out] == [str(early)]
    assert (found.raters[0].name, found.raters[0].rankings) == ("number <7>", asked)
    for scores in found.questions:
        assert tuple(row.method for row in scores.methods) == TASTE[scores.question]
        assert [row.mean_rank.value for row in scores.methods] == [1, 2, 3]


def test_the_page_plays_all_videos_together_shows_what_is_broken_and_asks_no_network(
    built: tuple[Path, Study], tmp_path: Path
) -> None:
    import shutil

    folder = Path(shutil.copytree(built[0], tmp_path / "study"))
    first = built[1].cases[0].id
    (folder / PAGE_FOLDER / "media" / f"{first}-b.mp4").write_bytes(b"no video")
    with open_browser(PHONE, tmp_path / "profile", tmp_path) as browser:
        rater = Rater(browser, built[1], (folder / PAGE_FOLDER / "index.html").as_uri(), "tap")
        rater.script(f"goTo([state.order.indexOf('{first}'), 0])")
        broken = ".tile[data-letter=b] .broken"
        assert "cannot be played" in wait_for(lambda: browser.find_elements("css selector", broken))[0].text
        times = "videos.filter((v) => !v.error).map((v) => v.currentTime)"
        rounds = wait_for(lambda: (seen := rater.script(times)) and min(seen) > 0.1 and seen)
        assert max(rounds) - min(rounds) < 0.1 and len(rounds) == 3
        for _ in range(3):  # and from the start again, all of them, time after time
            wait_for(lambda: max(rater.script(times)) < 0.1, seconds=2)
            wait_for(lambda: min(rater.script(times)) > 0.2, seconds=2)
        entries = "performance.getEntriesByType('resource').map((entry) => entry.name)"
        assert all(name.startswith("file:") for name in rater.script(entries))
        refused = "fetch('https://example.org').then(() => 'sent', () => 'refused')"
        assert rater.script(refused) == "refused"
        assert "Content Security Policy" in " ".join(complaints(browser))


def test_back_skip_undo_and_a_second_rater_on_the_same_device(built: tuple[Path, Study], tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    with open_browser(WIDE, tmp_path / "profile", tmp_path) as browser:
        rater = Rater(browser, built[1], (built[0] / PAGE_FOLDER / "index.html").as_uri(), "keyboard")
        rater.begin("")
        rater.rank()
        rater.press(Keys.ENTER)  # nothing is ranked: Enter does not skip
        assert rater.script("state.at") == [0, 1]
        rater.press("a")
        rater.press("b")
        rater.press(Keys.BACKSPACE)
        assert rater.script("ranks()") == ["a", "b"], "the last place came by itself, and goes first"
        rater.press("b")
        assert rater.script("ranks()") == ["a"]
        rater.press(Keys.ARROW_RIGHT)
        rater.press(Keys.ARROW_LEFT)
        assert rater.script("[state.at, ranks()]") == [[0, 1], ["a"]]
        rater.script("goTo([state.order.length - 1, 2])")
        rater.element("#next").click()
        assert "11 of 12 rankings are still open" in rater.element("#end").text
        rater.element("#to-open").click()
        assert rater.script("state.at") == [0, 1]
        before = rater.script("state.rater")
        browser.refresh()
        wait_for(rater.element("#another").is_displayed)  # the page's script shows it
        rater.element("#another").click()
        browser.switch_to.alert.accept()
        assert rater.script("state.rater") != before and rater.script("Object.keys(state.answers)") == []
        assert rater.element("#begin button").text == "Begin"


def _downloaded(folder: Path, count: int) -> Path:
    """The newest of so many downloaded files."""
    found = wait_for(lambda: len(files := sorted(folder.glob("answers-*.json"))) == count and files)
    return max(found, key=lambda path: path.stat().st_mtime_ns)
