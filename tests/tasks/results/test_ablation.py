"""An ablation's table: what a part is worth, clip by clip, and no more certain than its clips and seeds make it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fye_model.ablations import ABLATIONS, FULL
from fye_model.config import Recipe
from fye_model.evaluation.scores import merged
from fye_model.evaluation.table import BY_NAME
from tasks.media.write import write_video
from tasks.results.ablation import AblationTable, Trained, ablation_table
from tasks.results.ablation_text import grids, notes, sharing, write_ablation
from tasks.results.runs import read_evaluation
from tasks.results.variant_pictures import variants_sheet
from tasks.workspace.variants import variants_of
from tests.tasks.finished import CLIPS, make_record, write_evaluation

LEFT_OUT = "left out: only one person (anna) is held out"
ABOUT = ("demo", LEFT_OUT)


def _trained(folder: Path, name: str, seed: int, amplitude: float, clips: int = CLIPS) -> Trained:
    records = [make_record(number, amplitude, noise=4 + seed) for number in range(clips)]
    write_evaluation(folder / name / str(seed), records)
    (ablation,) = [one for one in ABLATIONS if one.name == name]
    stages = {"latents": "cached", "train_stage1": "computed"}
    return Trained(ablation, seed, read_evaluation(folder / name / str(seed)), f"checkpoint-{seed}", stages)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Trained]:
    """Two seeds each: the full method moves the mouth 90% as far as the truth; without expression FFG it is 20%."""
    folder = tmp_path_factory.mktemp("trained")
    amplitudes = {FULL: 0.9, "plain_2d": 0.9, "without_expression_ffg": 0.2}
    return [_trained(folder, name, seed, amplitudes[name]) for seed in (0, 1) for name in amplitudes]


@pytest.fixture(scope="module")
def found(trained: list[Trained]) -> AblationTable:
    return ablation_table("demo", trained, "same person, later frames", LEFT_OUT)


def test_a_part_that_matters_is_told_to_and_one_that_does_not_is_not(found: AblationTable) -> None:
    differences = found.tasks["self"].differences
    worse = differences["without_expression_ffg"]["expression_error"]
    assert worse.outcome == "worse" and worse.value > 0 and worse.clips == CLIPS
    assert differences["without_expression_ffg"]["expression.mouth_opening.slope"].outcome == "worse"
    same = differences["plain_2d"]["expression_error"]
    assert (same.value, same.outcome) == (0, "cannot tell")
    assert FULL not in differences and "cross" not in found.tasks


def test_seeds_are_summed_clip_by_clip_so_that_they_make_no_more_clips(
    found: AblationTable, trained: list[Trained]
) -> None:
    cell = found.tasks["self"].values[FULL]["l1"]
    assert found.seeds == (0, 1) and cell.clips == CLIPS and len(cell.by_seed) == 2
    assert cell.value == pytest.approx(np.mean(cell.by_seed)) and cell.by_seed[0] < cell.by_seed[1]
    low, high = cell.interval
    assert low < cell.value < high
    one = ablation_table("demo", [run for run in trained if run.seed == 0], "", None).tasks["self"]
    assert one.values[FULL]["l1"].value == pytest.approx(cell.by_seed[0])


def test_merging_one_clips_results_counts_them_all() -> None:
    scores = [make_record(1, 0.5, noise).scores["model"] for noise in (2, 8)]
    both = merged(scores)
    assert both.frames == 2 * scores[0].frames
    assert both.value(BY_NAME["l1"]) == pytest.approx(np.mean([one.value(BY_NAME["l1"]) for one in scores]))
    with pytest.raises(ValueError, match="no scores"):
        merged([])


def test_variants_of_other_clips_are_refused(tmp_path: Path, trained: list[Trained]) -> None:
    other = _trained(tmp_path, "with_contour", 0, 0.9, clips=CLIPS - 1)
    with pytest.raises(ValueError, match=r"with contour, seed 0, was not evaluated as full method"):
        ablation_table("demo", [trained[0], other], "", None)


def test_the_tables_say_the_same_in_every_format(found: AblationTable, tmp_path: Path) -> None:
    write_ablation(found, tmp_path, [("a clip", "data:image/png;base64,AAAA")])
    told = json.loads((tmp_path / "ablation.json").read_text())
    assert AblationTable.model_validate(told) == found
    value = told["tasks"]["self"]["values"]["plain_2d"]["l1_expression"]["value"]
    with (tmp_path / "table.csv").open(newline="") as handle:
        rows = {(row["variant"], row["metric"], row["seed"]): row for row in csv.DictReader(handle)}
    assert float(rows["plain_2d", "l1_expression", "all"]["value"]) == value
    assert ("plain_2d", "l1_expression", "1") in rows
    for name in ("table.md", "table.html"):
        text = (tmp_path / name).read_text()
        assert f"{value:.4f}" in text and "without expression FFG" in text and LEFT_OUT in text
    page = (tmp_path / "table.html").read_text()
    assert 'src="data:image/png;base64,AAAA"' in page and "all metrics" in page
    with (tmp_path / "differences.csv").open(newline="") as handle:
        outcomes = {(row["variant"], row["metric"]): row["outcome"] for row in csv.DictReader(handle)}
    assert outcomes["without_expression_ffg", "expression_error"] == "worse"


def test_masks_gaze_and_blinks_are_columns_and_the_seeds_spread_is_a_row(found: AblationTable) -> None:
    values, differences = grids(found)
    for part in ("L1, expression", "L1, face", "L1, rest", "Gaze", "Blinks found"):
        assert any(part.lower() in cell.lower() for cell in values.head), part
    assert [row[0] for row in values.rows[:-1]] == ["full method", "2D landmark", "without expression FFG"]
    assert values.rows[-1][0] == "seeds of the full method apart"
    assert values.head == differences.head and len(differences.rows) == 2


def test_what_cannot_be_told_is_said(found: AblationTable, trained: list[Trained]) -> None:
    text = "\n".join(notes(found))
    assert "2 seeds" in text and "same person, later frames" in text
    assert "without expression FFG: train.loss.lambda_expression=0.0" in text
    assert "only another person's motion, which was left out here" in text
    assert "FVD: missing: needs the weights" in text
    one = ablation_table("demo", [run for run in trained if run.seed == 0], "", None)
    assert "a difference can be the seed's own" in "\n".join(notes(one))


def test_what_was_shared_is_shown(found: AblationTable) -> None:
    table = sharing(found)
    assert table.head == ("variant", "latents", "train_stage1") and len(table.rows) == 3 * 2
    assert table.rows[0] == ("full method, seed 0", "cached", "computed")


def test_every_variant_differs_from_the_method_in_its_part_alone() -> None:
    found = {one.ablation.name: one.recipe for one in variants_of(Recipe(), [], 1)}
    full = found.pop(FULL)
    assert full == Recipe() and len(found) == 5
    assert {name: recipe.train.landmark_image.variant for name, recipe in found.items()} == {
        "plain_2d": "plain_2d",
        "with_contour": "with_contour",
        "without_pupils": "without_pupils",
        "without_facial_ffg": "expression_aware",
        "without_expression_ffg": "expression_aware",
    }
    assert found["without_facial_ffg"].train.loss.lambda_face == 0
    assert found["without_facial_ffg"].train.loss.lambda_expression == 1
    assert found["without_expression_ffg"].train.loss.lambda_expression == 0
    for recipe in found.values():
        assert recipe.model_copy(update={"train": full.train}) == full, "data, networks and sampling are the same"


def test_seeds_count_up_from_the_recipes_own() -> None:
    recipe = Recipe.model_validate({"train": {"stage1": {"steps": 5, "seed": 7}, "stage2": {"steps": 5, "seed": 8}}})
    found = variants_of(recipe, ["without_pupils"], 2)
    assert [(one.ablation.name, one.seed) for one in found] == [
        *((FULL, 0), ("without_pupils", 0), (FULL, 1), ("without_pupils", 1)),
    ]
    assert found[0].recipe == recipe
    assert [(one.recipe.train.stage1.seed, one.recipe.train.stage2.seed) for one in found] == [(7, 8)] * 2 + [
        (8, 9)
    ] * 2


def test_what_cannot_be_ablated_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown variants: without_ears; there are full, plain_2d"):
        variants_of(Recipe(), ["without_ears"], 1)
    with pytest.raises(ValueError, match="at least 1"):
        variants_of(Recipe(), [], 0)
    plain = Recipe.model_validate({"train": {"loss": {"lambda_face": 0.0}}})
    with pytest.raises(ValueError, match=r"without_facial_ffg already, so there is nothing to take away"):
        variants_of(plain, [], 1)


def test_the_sheet_has_the_same_frames_of_every_variant(tmp_path: Path) -> None:
    def video(name: str, result: int) -> Path:
        frames = np.zeros((6, 96, 4 * 96, 3), np.uint8)
        for column, value in enumerate((20, 60, 100, result)):
            frames[:, :, column * 96 : (column + 1) * 96] = value
        write_video(tmp_path / name, frames, 25.0, 4)
        return tmp_path / name

    sheet = variants_sheet({"full method": video("a.mp4", 160), "2D landmark": video("b.mp4", 220)}, "truth")
    assert isinstance(sheet, Image.Image) and sheet.width == 4 * 100 - 4
    middle = np.asarray(sheet)[34 + 48, 48::100, 0].astype(int)
    assert np.abs(middle - [20, 100, 160, 220]).max() <= 4
