"""Words that several texts about a data set share: names from outside, which may hold anything, and lengths."""

from __future__ import annotations

import re


def plain(name: str) -> str:
    """A name for a Markdown text or table cell, so that nothing in it is taken for a mark, a link or a tag."""
    return re.sub(r"([\\|<>\[\]`*&])", r"\\\1", re.sub(r"\s+", " ", name))


def length(hours: float) -> str:
    """Hours, or minutes where it is less than one."""
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"
