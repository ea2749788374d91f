"""The paper's Table 2: the method with one of its parts taken away, as overrides on any recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line reads the names, and has no need of pydantic
    from pydantic import JsonValue

FULL = "full"


@dataclass(frozen=True)
class Ablation:
    """A variant's name, what tables call it, and the settings that make it, on top of a recipe."""

    name: str
    label: str
    overrides: dict[str, JsonValue]


def _drawn(variant: str) -> dict[str, JsonValue]:
    return {"train": {"landmark_image": {"variant": variant}}}


ABLATIONS: tuple[Ablation, ...] = (
    Ablation(FULL, "full method", {}),
    Ablation("plain_2d", "2D landmark", _drawn("plain_2d")),
    Ablation("with_contour", "with contour", _drawn("with_contour")),
    Ablation("without_pupils", "without pupils", _drawn("without_pupils")),
    Ablation("without_facial_ffg", "without facial FFG", {"train": {"loss": {"lambda_face": 0.0}}}),
    Ablation("without_expression_ffg", "without expression FFG", {"train": {"loss": {"lambda_expression": 0.0}}}),
)
ABLATION_NAMES = tuple(ablation.name for ablation in ABLATIONS)
