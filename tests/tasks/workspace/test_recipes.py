"""Recipes resolve to what they say, hold the paper's numbers, and name every mistake."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import JsonValue

from fye_model.recipes import NAMED
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


@pytest.mark.parametrize("name", NAMED)
def test_a_printed_recipe_reads_back_to_itself(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    (tmp_path / "copy.yaml").write_text(dump_recipe(recipe))
    assert load_recipe(str(tmp_path / "copy.yaml")) == recipe


@pytest.mark.parametrize("name", ["paper-24gb", "paper-80gb"])
def test_a_recipe_for_a_smaller_card_computes_what_the_paper_recipe_does_in_smaller_parts(name: str) -> None:
    paper, smaller = (flat(load_recipe(which).model_dump(mode="json")) for which in ("paper", name))
    differing = {key for key, value in smaller.items() if paper[key] != value}
    how = ("accumulate", "gradient_checkpointing", "working_weights")
    allowed = {f"train.{stage}.{setting}" for stage in ("stage1", "stage2") for setting in how}
    assert paper.keys() == smaller.keys()
    assert {"name", "train.stage1.accumulate", "train.stage2.accumulate"} <= differing <= allowed | {"name"}


def test_one_setting_of_a_stage_leaves_the_papers_others() -> None:
    stage2 = load_recipe("paper", ["train.stage2.accumulate=2"]).train.stage2
    assert stage2 == load_recipe("paper").train.stage2.model_copy(update={"accumulate": 2})


def flat(settings: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    """Every setting by its path, as `--set` names it."""
    found: dict[str, JsonValue] = {}
    for name, value in settings.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


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


TEN = ", ".join(["*{}"] * 10)
BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{TEN.replace('{}', a)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)
)
HOSTILE = {
    "extends: [a]": r"extends \['a'\]; expected one of",
    "extends: 3000": "extends 3000; expected one of",
    "extends: null": "extends None; expected one of",
    "train: " + "{a: " * 3000 + "1" + "}" * 3000: "nested deeper than 50 levels",
    "name: " + "[" * 3000 + "]" * 3000: "nested deeper than 50 levels",
    BOMB: "more than 10,000 values, counting aliases",
    "train: &a\n  stage1: *a\n": "more than 50 levels",
    "train: {stage1: {learning_rate: .inf}}": "train.stage1.learning_rate is inf; expected a number that ends",
    "train: {stage1: {learning_rate: -.inf}}": "train.stage1.learning_rate is -inf",
    "screening: {min_sharpness: .nan}": "screening.min_sharpness is nan",
    "train: {stage1: {steps: 1}}\ntrain: {stage1: {steps: 2}}": "line 2, column 1: the key 'train' is given twice",
    "train: {stage1: {steps: " + "9" * 5000 + "}}": r"Exceeds the limit \(4300 digits\)",
    "name: " + "9" * 4000: r"got 9{100}… \(4,000 characters\)",
    "name: 2024-13-45": "month must be in 1..12",
    'name: "\\ud800"': "name is not text",
    '!!python/object/apply:os.system ["touch {mark}"]': "could not determine a constructor",
    "# " + "x" * 2_000_000: "has 2,000,002 bytes; settings take less than 1,048,576",
    "name: a\n---\nname: b": "line 2, column 1: but found another document",
    "- a": "expected keys and values, found a list",
}


@pytest.mark.parametrize(("text", "says"), HOSTILE.items(), ids=[text[:30] for text in HOSTILE])
def test_a_hostile_recipe_costs_one_line_that_names_the_file(text: str, says: str, tmp_path: Path) -> None:
    """Whoever wrote it: nothing is executed, nothing takes seconds or gigabytes."""
    path = tmp_path / "hostile.yaml"
    path.write_text(text.replace("{mark}", str(tmp_path / "mark")))
    begun = time.monotonic()
    with pytest.raises(ValueError, match=says) as caught:
        load_recipe(str(path))
    told = str(caught.value)
    assert str(path) in told and "\n" not in told and len(told) < 600
    assert time.monotonic() - begun < 5 and not (tmp_path / "mark").exists()


def test_recipes_that_are_no_files_or_extend_without_end_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for name, what in (("pipe", "a device or pipe"), ("folder", "a folder")):
        with pytest.raises(ValueError, match=f"{name}.yaml cannot be read: it is {what}"):
            load_recipe(str(tmp_path / f"{name}.yaml"))
    for number in range(1500):
        (tmp_path / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml")
    (tmp_path / "1500.yaml").write_text("extends: demo")
    assert load_recipe(str(tmp_path / "1490.yaml")).clips.size == load_recipe("demo").clips.size
    with pytest.raises(ValueError, match=r"20\.yaml: `extends` goes through more than 20 files"):
        load_recipe(str(tmp_path / "0.yaml"))


def test_a_setting_on_the_command_line_is_held_to_the_same() -> None:
    for value, says in ((".inf", "the value is inf"), ("9" * 5000, "4300 digits"), ("[" * 99, "50 levels")):
        with pytest.raises(ValueError, match=f"--set .*{says}") as caught:
            load_recipe("demo", [f"train.stage1.learning_rate={value}"])
        assert len(str(caught.value)) < 400
