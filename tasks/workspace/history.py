"""Which evaluations a work folder has seen, in `history.json`: what a report compares its run with.

An evaluation is known by its numbers: a run that finds everything cached, or comes to the same digits, is no new one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from pydantic import Field, ValidationError, field_validator

from fye_model.config import Config
from tasks.engine.items import Outcome
from tasks.engine.store import FileRef, Store
from tasks.workspace.yaml_text import parse_yaml

HISTORY = "history.json"
_METRICS = "metrics.json"
_COMPARED = (_METRICS, "records/", "cross/records/")  # what a comparison reads of an evaluation
_MOST = 50  # runs that are remembered
_MOST_CHANGES = 40  # that are told
logger = logging.getLogger(__name__)


class PastRun(Config):
    """A finished run. settings: its recipe as YAML. files: its evaluation's, name -> (path in store, sha256, size)."""

    finished: str
    recipe: str
    checkpoint: str
    settings: str
    files: dict[str, tuple[str, str, int]]

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, tuple[str, str, int]]) -> dict[str, tuple[str, str, int]]:
        outside = [path for path, _, _ in files.values() if path.startswith("/") or ".." in PurePosixPath(path).parts]
        if outside or _METRICS not in files:
            raise ValueError(f"{outside[0]!r} leaves the store" if outside else f"there is no {_METRICS}")
        return files

    @property
    def numbers(self) -> str:
        """sha256 of its metrics.json."""
        return self.files[_METRICS][1]

    def refs(self, store: Store, under: str) -> dict[str, FileRef]:
        """Its files by name, put `under` a folder; none where one of them is no longer in the store."""
        if any(store.size(path) != size for path, _, size in self.files.values()):
            return {}
        return {f"{under}{name}": FileRef(*entry) for name, entry in self.files.items()}


class History(Config):
    """history.json: runs in the order in which they finished."""

    schema_version: int = Field(1, alias="schema")
    runs: tuple[PastRun, ...] = ()


def read_history(store: Store) -> History:
    """What is remembered; nothing, with a warning, where the file is damaged: only a comparison is lost with it."""
    try:
        return History.model_validate_json(store.read_bytes(HISTORY))
    except FileNotFoundError:
        return History(schema=1)
    except (OSError, ValidationError) as error:
        logger.warning("%s/%s is damaged, so runs before this one are not compared: %s", store.url, HISTORY, error)
        return History(schema=1)


def previous_run(store: Store, evaluation: Outcome[Any]) -> PastRun | None:
    """The last run of this work folder that came to other numbers than this evaluation; None where there is none."""
    numbers = evaluation.ref(_METRICS).sha256
    return next((run for run in reversed(read_history(store).runs) if run.numbers != numbers), None)


def note_run(
    store: Store, evaluation: Outcome[Any], *, finished: str, recipe: str, checkpoint: str, settings: str
) -> None:
    """Remember a finished run, unless the last one came to the same numbers."""
    refs = {name: ref for name, ref in evaluation.refs("").items() if name.startswith(_COMPARED)}
    run = PastRun(
        finished=finished,
        recipe=recipe,
        checkpoint=checkpoint,
        settings=settings,
        files={name: (ref.path, ref.sha256, ref.size) for name, ref in refs.items()},
    )
    with store.exclusive(HISTORY):
        runs = read_history(store).runs
        if not runs or runs[-1].numbers != run.numbers:
            history = History(schema=1, runs=(*runs, run)[-_MOST:])
            store.write_json(HISTORY, history.model_dump(mode="json", by_alias=True))


def changed_settings(before: str, now: str) -> tuple[str, ...]:
    """`train.stage1.steps: 600, now 800` for every setting that differs between two recipes as YAML."""
    first, second = (dict(_leaves(parse_yaml(text))) for text in (before, now))
    found = [
        f"{name}: {first.get(name, 'not known then')}, now {second.get(name, 'no longer known')}"
        for name in {**first, **second}
        if (name in first, first.get(name)) != (name in second, second.get(name))
    ]
    more = len(found) - _MOST_CHANGES
    return (*found[:_MOST_CHANGES], *([f"and {more} more"] if more > 0 else []))


def _leaves(value: object, name: str = "") -> list[tuple[str, object]]:
    if not isinstance(value, Mapping):
        return [(name, value)]
    return [leaf for key, inner in value.items() for leaf in _leaves(inner, f"{name}.{key}" if name else str(key))]
