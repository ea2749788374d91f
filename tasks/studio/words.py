"""What the page says, as HTML: every name and message is text in it and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from tasks.animation.progress import seconds
from tasks.studio.running import Running

INTRODUCTION = (
    "<header><h1>A portrait that performs</h1><p>A picture of a face takes on what a face in a video does. Everything "
    "happens on the machine that serves this page, and what you bring and make is removed when you close it: download "
    "what you want to keep.</p></header>"
)
NO_PORTRAIT = "PNG, JPEG, WebP or HEIC: a photograph, a painting, a drawing; with some luck a dog."
NO_DRIVER = "The result has its length and its sound. Begin with a few seconds."

PASTE_BACK = "Put back into the whole picture"
_ON_THE_PAGE = {  # what the command calls an option is something to click on here
    "--points or --box": "the five points or a box",
    "--points": "the five points",
    "--paste-back": f"“{PASTE_BACK}”",
}


def of_the_page(text: str) -> str:
    """A message of `fye animate` that names options, with the page's names for them."""
    for option, name in _ON_THE_PAGE.items():
        text = text.replace(option, name)
    return text


def hint(text: str) -> str:
    """A line of advice."""
    return f'<p class="hint">{_text(text)}</p>'


def problem(text: str) -> str:
    """What does not go, and why."""
    return f'<p class="problem" role="alert">{_text(text)}</p>'


def lines(said: Iterable[str]) -> str:
    """What a run or a look told, one below the other; warnings stand out."""
    items = [f'<li class="{"warning" if line.startswith("WARNING") else "note"}">{_text(line)}</li>' for line in said]
    return f'<ul class="told">{"".join(items)}</ul>' if items else ""


def bar(running: Running[Any]) -> str:
    """How far a run is."""
    standing = running.standing
    part, words = 0.0, "Looking at the faces …"
    if running.result is not None:
        part, words = 1.0, f"Done in {seconds(running.took_s)}. Download it with the arrow: nothing is kept here."
    elif running.waiting:
        words = "Waiting for another run to end …"
    elif standing is not None:
        part, words = standing.part, str(standing)
        if standing.frames == standing.of_frames:
            words = "Writing the video …"
    told = f'<span role="status">{_text(words)}</span>'
    return f'<div class="bar"><progress value="{part:.4f}" max="1"></progress>{told}</div>'


def _text(text: str) -> str:
    return escape(text).replace("{", "&#123;").replace("$", "&#36;")  # gradio reads ${…} and {{…}} in HTML
