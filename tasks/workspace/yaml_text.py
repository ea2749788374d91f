"""YAML that people wrote, or somebody else: plain values, each key once, no deeper and no larger than settings are."""

from __future__ import annotations

import math
import stat
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 1 << 20
MOST_VALUES = 10_000  # aliases count each time that they are used
MOST_LEVELS = 50


def read_yaml(path: Path) -> object:
    """The values of a YAML file. Raises ValueError on one line that names the file, the place and what is wrong."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a named pipe would wait for ever
            raise ValueError(f"{path} cannot be read: it is a {'folder' if path.is_dir() else 'device or pipe'}")
        if status.st_size > MOST_BYTES:
            raise ValueError(f"{path} has {status.st_size:,} bytes; settings take less than {MOST_BYTES:,}")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file") from error
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise ValueError(f"{path} is {error}") from error


def parse_yaml(text: str) -> object:
    """The values of YAML text. Raises ValueError (`not valid YAML: …`, `not plain settings: …`) on one line."""
    try:
        values = yaml.load(text, _Loader)  # a SafeLoader: no tag makes an object
        _check(values, "", [0], 0)
        return values
    except yaml.YAMLError as error:
        raise ValueError(f"not valid YAML: {_where(error)}") from error
    except RecursionError as error:
        raise ValueError(f"not plain settings: nested deeper than {MOST_LEVELS} levels") from error
    except _NotPlain:
        raise
    except ValueError as error:  # a date that does not exist, a number of thousands of digits
        raise ValueError(f"not valid YAML: {str(error).split(';')[0]}") from error


class _NotPlain(ValueError):
    pass


class _Loader(yaml.SafeLoader):
    """Also refuses what is nested too deeply, before Python's own stack ends, and keys that are given twice."""

    levels = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.levels += 1
        if self.levels > MOST_LEVELS:
            raise _NotPlain(f"not plain settings: nested deeper than {MOST_LEVELS} levels")
        try:
            return super().compose_node(parent, index)
        finally:
            self.levels -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for name, _ in node.value:
            if isinstance(name, yaml.ScalarNode) and name.tag != "tag:yaml.org,2002:merge":
                if name.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {name.value[:60]!r} is given twice", name.start_mark
                    )
                seen.add(name.value)
        return super().construct_mapping(node, deep)


def _check(value: object, place: str, counted: list[int], level: int) -> None:
    """Raise for what no setting can be: endless numbers, text that is none, loops, and more than settings are."""
    counted[0] += 1
    if counted[0] > MOST_VALUES or level > MOST_LEVELS:
        what = f"more than {MOST_VALUES:,} values" if counted[0] > MOST_VALUES else f"more than {MOST_LEVELS} levels"
        raise _NotPlain(f"not plain settings: {what}, counting aliases wherever they are used")
    if isinstance(value, float) and not math.isfinite(value):
        raise _NotPlain(f"not plain settings: {place or 'the value'} is {value}; expected a number that ends")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _NotPlain(f"not plain settings: {place or 'the value'} is not text: {value[:60]!r}") from None
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | set) else ()
    for name, entry in below:
        _check(name, place, counted, level + 1)
        _check(entry, f"{place}.{name}" if place else str(name), counted, level + 1)


def _where(error: yaml.YAMLError) -> str:
    """The parser's complaint on one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())
