"""What a data set is, in `dataset.json`: its roots, names of one person, and the landmark model that it is held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields

from pydantic import Field, ValidationError

from fye_model.config import Config
from tasks.engine.store import Store
from tasks.footage.pieces import Root

REGISTRY = "dataset.json"


class Registry(Config):
    """dataset.json. `aliases`: another name of a person -> the name that is kept."""

    schema_version: int = Field(1, alias="schema")
    roots: tuple[Root, ...] = ()
    aliases: dict[str, str] = Field(default_factory=dict)
    landmark_model: str | None = None


def read_registry(store: Store) -> Registry:
    """What is noted of a work folder's data set. ValueError where the file is damaged."""
    try:
        return Registry.model_validate_json(store.read_bytes(REGISTRY))
    except FileNotFoundError:
        return Registry(schema=1)
    except (OSError, ValidationError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise ValueError(
            f"{store.url}/{REGISTRY} is damaged ({said}); it tells which videos the data set is made of. Bring it "
            "back, or delete it and give the folders again (--videos DIR): what was made of the same videos is found"
        ) from error


def change_registry(store: Store, change: Callable[[Registry], Registry]) -> Registry:
    """Change what is noted, while no other process of any machine does; returns what is noted then."""
    with store.exclusive(REGISTRY):
        before = read_registry(store)
        after = change(before)
        if after != before:
            told = after.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            store.write_json(REGISTRY, {"schema": 1} | told | {"roots": [_as_stored(root) for root in after.roots]})
    return after


def claim_landmark_model(store: Store, model: str) -> None:
    """Raise ValueError when this work folder's landmarks come from another model; note the model when it is new.

    Two models' landmarks differ by more than the expressions that are learned from them, so they never mix.
    """
    known = read_registry(store).landmark_model
    if known is None:
        known = change_registry(
            store, lambda found: found.model_copy(update={"landmark_model": found.landmark_model or model})
        ).landmark_model
    if known != model:
        raise other_landmark_model(store, str(known), model)


def other_landmark_model(store: Store, known: str, model: str) -> ValueError:
    """The error of a run with another landmark model than the data set's."""
    return ValueError(
        f"the data set in {store.url} was made with the landmark model {known}, and this run has {model}. "
        "Two models never mix in one data set: provide the first (FYE_ASSETS=FOLDER), or take another work folder"
    )


def _as_stored(root: Root) -> Mapping[str, object]:
    """A root without what it has by default, but with its subject."""
    defaults = {field.name: field.default for field in fields(Root)}
    return {name: value for name, value in asdict(root).items() if name == "subject" or value != defaults[name]}
