"""Under which terms stands what a run was made of: code, models, footage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import reduce

from fye_model.asset_files import find
from fye_model.assets import ASSETS, FACE_LANDMARKER, Asset
from fye_model.config import Config, Recipe
from tasks.faces.landmarker import LandmarkerAsset
from tasks.workspace.sources import Source

_FALLBACK = "attention_mesh"


class Licence(Config):
    """What was used, its licence in words, and where it is from."""

    what: str
    licence: str
    source: str


def licences(recipe: Recipe, landmarker: LandmarkerAsset, sources: Sequence[Source]) -> tuple[Licence, ...]:
    """Of everything that a run of this recipe reads: the code, the models that it names, and the footage it takes.

    Footage whose source has no card, or whose card says nothing, is told to be unknown.
    """
    code = Licence(what="this software", licence="Apache-2.0", source="LICENSE")
    models = [Licence(what=a.name, licence=a.licence, source=a.source) for a in ASSETS if _used(a, recipe, landmarker)]
    taken = Counter((source.licence, source.card) for source in sources if source.problem is None)
    footage = [
        Licence(
            what=f"{count} video{'s' if count != 1 else ''}",
            licence=licence or "not known: no card says it; ask whoever gave them to you",
            source=card,
        )
        for (licence, card), count in sorted(taken.items(), key=str)
    ]
    return (code, *models, *footage)


def _used(asset: Asset, recipe: Recipe, landmarker: LandmarkerAsset) -> bool:
    if asset.name in (FACE_LANDMARKER.name, _FALLBACK):
        return (asset.name == _FALLBACK) != landmarker.has_matrix
    if asset.setting is not None:
        return reduce(getattr, asset.setting.split("."), recipe) is not None
    return bool(asset.metrics) and find(asset) is not None
