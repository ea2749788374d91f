"""Which model of a work folder is the one in use, in `promoted.json`: a pointer with its history.

A retrain offers its model; a promotion points to it, a rollback points back. Nothing that was ever promoted is taken
away: its files stay in the store, where the pointer names them. The file is changed by one process at a time, also on
object stores, and read whole, so nobody sees half a promotion and none is lost. On a disk the link `promoted` leads to
the model's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, ValidationError, field_validator

from fye_model.config import Config
from tasks.engine.store import FileRef, Store, digest
from tasks.workspace.publish import link_model

PROMOTED = "promoted.json"
PROMOTED_LINK = "promoted"
Action = Literal["promoted", "rolled back"]
Files = dict[str, tuple[str, str, int]]  # name -> (path in the store, sha256, bytes)


class Superseded(ValueError):
    """Another model was promoted since the decision was made."""


class OfferedModel(Config):
    """A trained model by its files in the store: `model/…`, `vae/…` and `image_encoder/…`, and `init/…`, the
    checkpoint that it was made of, from which training can go on."""

    trained: str
    recipe: str
    checkpoint: str
    landmark_model: str
    files: Files

    @field_validator("files")
    @classmethod
    def _inside(cls, files: Files) -> Files:
        outside = [path for path, _, _ in files.values() if path.startswith("/") or ".." in PurePosixPath(path).parts]
        if outside or "model/model_index.json" not in files:
            raise ValueError(f"{outside[0]!r} leaves the store" if outside else "there is no model/model_index.json")
        return files

    @property
    def id(self) -> str:
        """What it holds, in twelve signs."""
        held = sorted((name, sha256) for name, (_, sha256, _) in self.files.items() if name.startswith("model/"))
        return digest([list(entry) for entry in held])[:12]

    @property
    def folder(self) -> str:
        """The model folder in the store."""
        return str(PurePosixPath(self.files["model/model_index.json"][0]).parent)

    def refs(self, prefix: str) -> dict[str, FileRef]:
        """Its files whose names begin so, by name."""
        return {name: FileRef(*entry) for name, entry in self.files.items() if name.startswith(prefix)}


class Event(Config):
    """One move of the pointer: to `model`, from `before` (None: nothing was promoted)."""

    at: str
    action: Action
    model: str
    before: str | None
    why: str


class Promotions(Config):
    """promoted.json. models: by id, all that were promoted, and the one offered last. events: oldest first."""

    schema_version: int = Field(1, alias="schema")
    models: dict[str, OfferedModel] = Field(default_factory=dict)
    events: tuple[Event, ...] = ()
    offered: str | None = None

    @property
    def current(self) -> str | None:
        """The id of the model in use."""
        return self.events[-1].model if self.events else None

    @property
    def taken_back(self) -> dict[str, str]:
        """Models from which somebody went back, with the reason, and that nobody has promoted by hand since."""
        return {
            event.before: event.why
            for number, event in enumerate(self.events)
            if event.action == "rolled back"
            and event.before is not None
            and all(later.model != event.before for later in self.events[number + 1 :])
        }

    @property
    def earlier(self) -> str | None:
        """The id of the model that was in use before the one in use was promoted."""
        promotions = [event for event in self.events if event.action == "promoted" and event.model == self.current]
        return promotions[-1].before if promotions else None


def read_promotions(store: Store) -> Promotions:
    """What is promoted. ValueError that names the file where it is damaged: nobody guesses which model is in use."""
    try:
        return Promotions.model_validate_json(store.read_bytes(PROMOTED))
    except FileNotFoundError:
        return Promotions(schema=1)
    except ValidationError as error:
        raise ValueError(
            f"{store.url}/{PROMOTED} is damaged ({error.errors()[0]['msg']}), so it is not known which model is in "
            "use; bring it back from a copy, or delete it to begin anew"
        ) from error


def current_model(store: Store) -> OfferedModel | None:
    """The model in use; None where none was promoted."""
    found = read_promotions(store)
    return None if found.current is None else found.models[found.current]


def offer(store: Store, model: OfferedModel) -> str:
    """Have a model ready to be promoted, in place of the one offered before; returns its id."""
    with store.exclusive(PROMOTED):
        found = read_promotions(store)
        used = {event.model for event in found.events} | {event.before for event in found.events}
        models = {name: entry for name, entry in found.models.items() if name in used}
        _write(store, found.model_copy(update={"models": {model.id: model, **models}, "offered": model.id}))
    return model.id


def promote(
    store: Store, model: OfferedModel | str | None, why: str, expected: str | Literal["any"] | None = "any"
) -> OfferedModel:
    """Point to a model, or to an offered or earlier one by its id; None is the one offered last.

    Nothing happens where it is in use already. A model itself is known also where another run offered its own since.
    expected: the id of the model that it was compared with. Raises Superseded where that is no longer the one in use,
    ValueError for a model that is not known or whose files are gone.
    """
    with store.exclusive(PROMOTED):
        found = read_promotions(store)
        if expected not in ("any", found.current):
            raise Superseded(
                f"{found.current} was promoted in {store.url} meanwhile, and this decision was made against "
                f"{expected or 'no model'}; decide anew"
            )
        if isinstance(model, OfferedModel):
            found = found.model_copy(update={"models": {**found.models, model.id: model}})
            return _move(store, found, model.id, "promoted", why)
        return _move(store, found, model or found.offered, "promoted", why)


def roll_back(store: Store, why: str) -> OfferedModel:
    """Point to the model that was in use before the one in use was promoted. ValueError where there is none."""
    with store.exclusive(PROMOTED):
        found = read_promotions(store)
        if found.earlier is None:
            raise ValueError(
                f"nothing in {store.url} to go back to: "
                + ("no model was promoted before this one" if found.current else "no model was promoted yet")
            )
        return _move(store, found, found.earlier, "rolled back", why)


def _move(store: Store, found: Promotions, model: str | None, action: Action, why: str) -> OfferedModel:
    if model is None:
        raise ValueError(f"{store.url} has no model to promote: run fye retrain or fye retrain-weekly in it first")
    if model not in found.models:
        raise ValueError(f"no model {model!r} in {store.url}/{PROMOTED}; there is {', '.join(found.models)}")
    chosen = found.models[model]
    gone = [ref.path for ref in chosen.refs("model/").values() if store.size(ref.path) != ref.size]
    if gone:
        raise ValueError(f"{store.url}/{gone[0]} of the model {model} is gone or damaged; train it again")
    if model != found.current:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        event = Event(at=at, action=action, model=model, before=found.current, why=why)
        _write(store, found.model_copy(update={"events": (*found.events, event)}))
    if store.local_root is not None:
        link_model(store.local_root / PROMOTED_LINK, chosen.folder)
    return chosen


def _write(store: Store, found: Promotions) -> None:
    store.write_json(PROMOTED, found.model_dump(mode="json", by_alias=True))


def files_of(*parts: Mapping[str, FileRef]) -> Files:
    """References as `promoted.json` has them."""
    return {name: (ref.path, ref.sha256, ref.size) for part in parts for name, ref in part.items()}
