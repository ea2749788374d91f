"""Decisions of people who looked at clips: `decisions.json` in the work folder, which screening obeys.

A decision belongs to a clip's id, which is made of its content: it holds for this clip in every run, and for no clip
that is cut otherwise. `fye review` makes the page on which decisions are taken, and brings them here.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from fye_model.config import Config
from tasks.engine.store import Store

DECISIONS = "decisions.json"
DECISIONS_SCHEMA = 1


class Decision(Config):
    """Whether somebody wants a clip; None takes an earlier decision back. The name is for people, `note` says why."""

    keep: bool | None
    name: str = ""
    note: str = ""


class Decisions(Config):
    """The file: a clip's id -> what was decided."""

    schema_version: int = Field(DECISIONS_SCHEMA, alias="schema")
    decisions: dict[str, Decision]


def read_decisions(store: Store) -> dict[str, Decision]:
    """The decisions of a work folder; none where nobody took any. ValueError for a damaged file."""
    if not store.exists(DECISIONS):
        return {}
    return _parsed(store.read_bytes(DECISIONS), f"{store.url}/{DECISIONS}").decisions


def take_decisions(store: Store, path: Path) -> tuple[int, int]:
    """Bring a file of decisions into a work folder, over those that it has: (how many are new or changed, of how many).

    ValueError for what is no such file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); give the file that the page saved") from error
    taken = _parsed(data, str(path)).decisions
    nothing = Decision(keep=None)
    with store.exclusive(DECISIONS):
        known = read_decisions(store)
        changed = sum(known.get(clip, nothing).keep != decision.keep for clip, decision in taken.items())
        if changed:
            kept = {clip: decision for clip, decision in (known | taken).items() if decision.keep is not None}
            merged = Decisions(schema=DECISIONS_SCHEMA, decisions=kept)
            store.write_json(DECISIONS, merged.model_dump(mode="json", by_alias=True))
    return changed, len(taken)


def _parsed(data: bytes, place: str) -> Decisions:
    try:
        found = Decisions.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ValueError(
            f"{place}: not a file of decisions ({where}: {first['msg']}); expected what the page of fye review saves"
        ) from error
    if found.schema_version != DECISIONS_SCHEMA:
        raise ValueError(
            f"{place}: decisions of schema {found.schema_version}, this version reads {DECISIONS_SCHEMA}; "
            "make the page anew with fye review and decide there"
        )
    return found
