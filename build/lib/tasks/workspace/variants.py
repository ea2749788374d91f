"""One recipe's variants, seed by seed, as an ablation trains them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fye_model.ablations import ABLATION_NAMES, ABLATIONS, FULL, Ablation
from fye_model.config import Recipe
from tasks.workspace.recipes import merge_settings


@dataclass(frozen=True)
class Variant:
    """A variant of a recipe, with one seed of its training."""

    ablation: Ablation
    seed: int
    recipe: Recipe


def variants_of(recipe: Recipe, names: Sequence[str], seeds: int) -> list[Variant]:
    """The full method and the named variants (all of them where none is named), each with as many seeds.

    The first seed is the recipe's own, so that what a retrain of it left is found; the others count up from there in
    both training stages. Raises ValueError for an unknown name, no seed, and a recipe that is one of the variants
    itself.
    """
    if unknown := [name for name in names if name not in ABLATION_NAMES]:
        raise ValueError(f"unknown variants: {', '.join(unknown)}; there are {', '.join(ABLATION_NAMES)}")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}")
    chosen = [one for one in ABLATIONS if not names or one.name in names or one.name == FULL]
    found = [Variant(ablation, seed, _changed(recipe, ablation, seed)) for seed in range(seeds) for ablation in chosen]
    same = [one.ablation.name for one in found if one.seed == 0 and one.ablation.name != FULL and one.recipe == recipe]
    if same:
        raise ValueError(
            f"recipe {recipe.name} is {', '.join(same)} already, so there is nothing to take away; give the full method"
        )
    return found


def _changed(recipe: Recipe, ablation: Ablation, seed: int) -> Recipe:
    values = merge_settings(recipe.model_dump(), ablation.overrides)
    train = recipe.train
    seeds = {"stage1": {"seed": train.stage1.seed + seed}, "stage2": {"seed": train.stage2.seed + seed}}
    return Recipe.model_validate(merge_settings(values, {"train": seeds}))
