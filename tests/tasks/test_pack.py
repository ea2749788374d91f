"""A data set packed here, trained where only the library is, and scored here: the digits are those of one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fye_model.config import Recipe
from fye_model.landmarks.masks import latent_masks
from fye_model.landmarks.table import read_landmarks, write_masks
from fye_model.training.away import Away
from fye_model.training.pack import read_pack
from tasks.evaluate import evaluate
from tasks.faces.landmarker import geometry_source
from tasks.pack import PACK, PackSettings
from tasks.workspace.dataset import write_index
from tests.debug import DEBUG
from tests.tasks.held_out import SIZE
from tests.tasks.support import work_on

pytestmark = [pytest.mark.slow, pytest.mark.mediapipe]


def test_a_model_trained_away_scores_as_if_it_had_performed_here(held_out_data: Any, tmp_path: Path) -> None:
    asset = held_out_data.landmarker
    values = DEBUG.model_dump(mode="json")
    values["clips"]["size"] = SIZE
    values["latents"]["jitter"]["crops"] = 1
    values["train"]["stage1"]["learning_rate"] = 0.05  # or landmarks, which begin at zero, are not seen
    recipe = Recipe.model_validate(values)
    files, facts = held_out_data.inputs()
    spans = {"train": (0, 6), "val": (6, 10)}
    facts = facts.model_copy(update={"clips": tuple(clip.model_copy(update=spans) for clip in facts.clips)})
    for clip in facts.clips:
        files[f"clips/{clip.clip}/masks"] = tmp_path / f"{clip.clip}.parquet"
        masks = latent_masks(read_landmarks(files[f"clips/{clip.clip}/landmarks"]), 0.02, facts.factor)
        write_masks(files[f"clips/{clip.clip}/masks"], *masks)
    index = write_index(tmp_path / "index.json", files, facts, geometry_source(asset))

    packed = tmp_path / "packed"
    packed.mkdir()
    row = work_on(PACK, PackSettings(recipe=recipe), files, facts, packed, asset=asset)
    asked = read_pack(packed / "pack").reenactments
    assert (row.clips, row.reenactments) == (2, len(asked)) and len(asked) == 2  # one clip, and one pair of two people

    model = Away(packed / "pack", tmp_path / "away", "cpu", 1, lambda line: None).run()
    terms = (recipe.evaluation, recipe.sampling, asset)
    there = evaluate(model, index, *terms, tmp_path / "there", reenacted=tmp_path / "away" / "reenacted")
    here = evaluate(model, index, *terms, tmp_path / "here")
    assert there == here and there["model"]["l1"]["mean"] > 0 and there["cross"]["pairs"]
    for name in ("strips", "cross/strips"):
        made = [
            {path.name: path.read_bytes() for path in (tmp_path / run / name).iterdir()} for run in ("there", "here")
        ]
        assert made[0] == made[1] and made[0]

    (tmp_path / "away" / "reenacted" / f"{asked[0]}.parquet").unlink()
    with pytest.raises(ValueError, match="did not reenact this clip: pack it again"):
        evaluate(model, index, *terms, tmp_path / "lost", reenacted=tmp_path / "away" / "reenacted")
