"""Recipes resolve to what they say, hold the paper's numbers, and name every mistake."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks.workspace.recipes import check_weights, dump_recipe, load_recipe


def test_the_paper_recipe_has_the_papers_numbers() -> None:
    recipe = load_recipe("paper")
    assert recipe.clips.size == 512
    assert (recipe.train.stage1.steps, recipe.train.stage2.steps) == (30_000, 10_000)
    assert recipe.train.stage1.batch_size == recipe.train.stage2.batch_size == 32
    assert recipe.train.stage1.learning_rate == recipe.train.stage2.learning_rate == 1e-5
    assert (recipe.train.stage1.frames, recipe.train.stage2.frames) == (1, 16)
    assert (recipe.sampling.guidance_scale, recipe.sampling.steps) == (3.5, 30)
    assert (recipe.train.covering.all_but_ends, recipe.train.covering.per_frame) == (0.5, 0.5)
    assert (recipe.evaluation.frames, recipe.evaluation.size) == (64, 256)
    assert recipe.networks.qformer_layers == 4


@pytest.mark.parametrize("name", ["paper", "demo", "debug"])
def test_a_printed_recipe_reads_back_to_itself(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    (tmp_path / "copy.yaml").write_text(dump_recipe(recipe))
    assert load_recipe(str(tmp_path / "copy.yaml")) == recipe


def test_files_extend_recipes_and_overrides_win(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("extends: demo\ntrain: {stage1: {steps: 7}}\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nclips: {margin: 0.25}\n")
    recipe = load_recipe(str(tmp_path / "mine.yaml"), ["train.stage2.steps=3", "screening.brightness=[1, 2]"])
    assert (recipe.name, recipe.train.stage1.steps, recipe.train.stage2.steps) == ("mine", 7, 3)
    assert recipe.clips.margin == 0.25 and recipe.screening.brightness == (1.0, 2.0)
    assert recipe.clips.size == load_recipe("demo").clips.size


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["train.stage1.stepz=3"], "did you mean 'steps'"),
        (["nothing=3"], "valid keys: "),
        (["clips.size=100"], "divisible by 8"),
        (["clips.size=many"], "clips.size"),
        (["clips.size"], "KEY.PATH=VALUE"),
        (["clips.size=[1"], "not valid YAML: line 1, column 3: expected ',' or ']'"),
        (["clips=4"], "clips: expected settings below it ("),
    ],
)
def test_a_wrong_override_is_named(overrides: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        load_recipe("demo", overrides)


def test_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected one of"):
        load_recipe("papre")
    with pytest.raises(ValueError, match="cannot be read"):
        load_recipe(str(tmp_path / "absent.yaml"))
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(ValueError, match="circle"):
        load_recipe(str(tmp_path / "a.yaml"))
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ValueError, match="expected keys and values"):
        load_recipe(str(tmp_path / "list.yaml"))
    (tmp_path / "orphan.yaml").write_text("extends: demoo\n")
    with pytest.raises(ValueError, match=r"orphan\.yaml: extends 'demoo', which does not exist; expected one of"):
        load_recipe(str(tmp_path / "orphan.yaml"))
    (tmp_path / "open.yaml").write_text("clips: {size: 64\ntrain: [\n")
    with pytest.raises(ValueError, match=r"open\.yaml is not valid YAML: line 2, column 6: expected ',' or '}'"):
        load_recipe(str(tmp_path / "open.yaml"))


def test_training_names_all_missing_weights_at_once(tmp_path: Path) -> None:
    check_weights(load_recipe("demo"))
    with pytest.raises(ValueError, match=r"recipe paper: autoencoder\.path: not set.*fit_steps is 0"):
        check_weights(load_recipe("paper"))
    missing = [f"networks.unet={tmp_path / 'unet'}", f"image_encoder.path={tmp_path / 'clip'}"]
    with pytest.raises(
        ValueError, match=r"image_encoder\.path: .*clip does not exist; networks\.unet: .*unet does not"
    ):
        check_weights(load_recipe("demo", missing))
    (tmp_path / "unet").mkdir()
    (tmp_path / "clip").mkdir()
    check_weights(load_recipe("demo", missing))
