"""Tables of texts are the same rows in every format, and a wide one scrolls within itself on a phone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.results.grids import Grid, as_csv, as_markdown, as_page
from tests.browser import PHONE, WIDE, complaints, open_browser, sideways_px

EVIL = "<script>alert(1)</script>"
HEAD = ("method", *(f"a measure of length {i}" for i in range(12)))
GRID = Grid("Cross | pairs", HEAD, (("ours | best", *["0.1234 [0.1, 0.2]"] * 12), (EVIL, *["–"] * 12)))


def test_markdown_keeps_cells_apart_and_html_runs_nothing() -> None:
    text = as_markdown("A title", [GRID], ["a note"])
    assert text.startswith("# A title\n\n## Cross | pairs\n\n| method | a measure")
    assert "| ours \\| best | 0.1234" in text and text.endswith("\n- a note\n")
    page = as_page(EVIL, [GRID], [EVIL], [Grid("More", ("x",), (("folded",),))])
    assert "<script" not in page and page.count("&lt;script&gt;") == 4 and "folded" in page


def test_csv_leaves_what_is_not_there_empty() -> None:
    assert as_csv([["a", None, 0.5], ["x,y", "", 1]]) == b'a,,0.5\n"x,y",,1\n'


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_a_wide_table_scrolls_within_itself(size: tuple[int, int], tmp_path: Path) -> None:
    long = "sha256 " + 64 * "0"
    (tmp_path / "table.html").write_text(as_page("User study " + 60 * "x", [GRID], [long], [GRID]))
    with open_browser(size, tmp_path / "profile", tmp_path) as browser:
        browser.get((tmp_path / "table.html").as_uri())
        browser.execute_script("document.querySelector('details').open = true")
        assert sideways_px(browser) == 0
        inside = "const box = document.querySelector('.wide'); return box.scrollWidth - box.clientWidth"
        assert browser.execute_script(inside) > 0
        assert complaints(browser) == []
