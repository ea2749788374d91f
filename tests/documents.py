"""What documents say in code: their blocks, and a copy of the tree to which they can be applied."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PARTS = ("flows", "tasks", "fye_model", "datasets", "tests", "README.md", "CONTRIBUTING.md", "pyproject.toml")
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A code block: its language and its lines without the indent of the list that it stands in."""

    language: str
    text: str

    @property
    def path(self) -> str | None:
        """The file that the block is about: named in its first line, as a comment or as a diff's new file."""
        named = re.match(r"(?:# |<!-- |\+\+\+ )([\w./]+\.\w+)", self.text)
        return named[1] if named else None

    @property
    def body(self) -> str:
        """The block without the line that names its file."""
        return self.text.split("\n", 1)[1]


def blocks(document: str, heading: str | None = None) -> list[Block]:
    """The code blocks of a document of the tree, or of what stands under one of its headings of the second level."""
    text = (ROOT / document).read_text()
    if heading is not None:
        _, text = text.split(f"\n## {heading}\n", 1)
        text = text.split("\n## ", 1)[0]
    return [
        Block(language, "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True)))
        for indent, language, body in _BLOCK.findall(text)
    ]


def copy_tree(target: Path) -> Path:
    """The project's files at another place, to be changed there."""
    for name in _PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)
    return target


def apply(block: Block, tree: Path) -> str:
    """Write a block's new file, or change the file that its diff names; returns the file's path.

    Each part of a diff, split by `@@`, must be found in the file exactly once.
    """
    assert block.path is not None, f"this block names no file:\n{block.text}"
    path = tree / block.path
    if block.language != "diff":
        assert not path.exists(), f"{block.path} exists already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.body)
        return block.path
    text = path.read_text()
    for part in block.body.split("@@\n"):
        lines = part.splitlines(keepends=True)
        before = "".join(line[1:] or "\n" for line in lines if not line.startswith("+"))
        after = "".join(line[1:] or "\n" for line in lines if not line.startswith("-"))
        assert text.count(before) == 1, f"{block.path} does not have exactly once:\n{before}"
        text = text.replace(before, after)
    path.write_text(text)
    return block.path


def python_in(tree: Path, code: str) -> str:
    """Run Python with a tree's own modules; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tree)!r})\n{textwrap.dedent(code)}"],
        capture_output=True,
        text=True,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
