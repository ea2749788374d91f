"""The coverage of a data set as one picture: who shows what for how long, and where the gaps are."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from tasks.survey.coverage import ENOUGH_S, Coverage

_MOST_SUBJECTS = 40  # a row each; of more, those that lack most are shown
_STEPS_S = (ENOUGH_S / 5, ENOUGH_S, 5 * ENOUGH_S, 25 * ENOUGH_S)
_COLOURS = ("#f6d5d5", "#fbead0", "#cfe3f5", "#74a9d8", "#22578f")  # absent, too little, enough, plenty, lots
_STYLE: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "fye"}


def coverage_png(coverage: Coverage) -> bytes:
    """PNG: above, in how many subjects each aspect is shown; below, a cell a subject and aspect, its seconds in it."""
    aspects = [aspect for aspect in coverage.aspects if aspect.told]
    subjects = sorted(coverage.subjects, key=lambda name: (-len(coverage.missing(name)), name))[:_MOST_SUBJECTS]
    seconds = np.array([[coverage.subjects[name].get(aspect.aspect, 0.0) for aspect in aspects] for name in subjects])
    seconds = seconds.reshape(len(subjects), len(aspects))
    height = 3.2 + 0.26 * max(len(subjects), 1)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4 + 0.34 * len(aspects), height), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.4, max(height - 3.2, 0.5)))
        above.bar(range(len(aspects)), [aspect.subjects for aspect in aspects], color=_COLOURS[3])
        above.set_ylim(0, max(len(coverage.subjects), 1))
        above.set_ylabel(f"subjects of {len(coverage.subjects)}")
        above.set_title("who shows what in the kept clips, in seconds; red: absent, orange: too little", loc="left")
        if seconds.size:
            below.imshow(
                np.digitize(seconds, _STEPS_S), cmap=ListedColormap(_COLOURS), vmin=-0.5, vmax=4.5, aspect="auto"
            )
        below.set_yticks(range(len(subjects)), [_short(name) for name in subjects])
        below.set_xticks(range(len(aspects)), [aspect.label for aspect in aspects], rotation=60, ha="right")
        groups = [aspect.group for aspect in aspects]
        for edge in (at for at in range(1, len(groups)) if groups[at] != groups[at - 1]):
            for axis in (above, below):
                axis.axvline(edge - 0.5, color="#444444", linewidth=0.8)
        for row, column in np.argwhere(seconds > 0):
            value, dark = seconds[row, column], seconds[row, column] >= _STEPS_S[-1]
            text = f"{value:.0f}" if value >= 9.5 else f"{value:.1f}"
            below.text(column, row, text, ha="center", va="center", size=6, color="white" if dark else "#333333")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return buffer.getvalue()


def _short(name: str, most: int = 24) -> str:
    """Plain text for matplotlib, which would read `$` as mathematics."""
    return (name if len(name) <= most else f"{name[: most - 1]}…").replace("$", r"\$")
