"""Names from outside in Markdown: file names and folders may hold anything."""

from __future__ import annotations

import re


def plain(name: str) -> str:
    """A name for a Markdown text or table cell, so that nothing in it is taken for a mark, a link or a tag."""
    return re.sub(r"([\\|<>\[\]`*&])", r"\\\1", re.sub(r"\s+", " ", name))
