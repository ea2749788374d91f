"""Selection ranks real checkpoints by the declared rule and assembles a model folder that loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image

from fye_model.animation.description import need_description
from fye_model.animation.folder import assemble_pipeline
from fye_model.animation.pipeline import FollowYourEmojiPipeline
from fye_model.config import EvaluationConfig, LandmarkImageConfig, SamplingConfig, SelectionConfig
from fye_model.evaluation.table import METRICS
from fye_model.training.records import validation_loss
from tasks.select import SELECT, SelectSettings, select
from tests.tasks.support import work_on

DATASETS = Path(__file__).resolve().parents[2] / "datasets"
CONFIG = SelectionConfig(clips=2, frames=3, sampling_steps=1)
SAMPLING = SamplingConfig(steps=7, guidance_scale=1.0, window=4)


def _select(models: Any, data: Any, out: Path, config: SelectionConfig = CONFIG, **options: Any) -> dict[str, Any]:
    evaluation = EvaluationConfig(size=64)
    arguments = (config, SAMPLING, evaluation, models.parts, data.landmarker, out, lambda line: None)
    checkpoints = {path.name: path for path in options.pop("checkpoints", models.checkpoints)}
    said = {"crop_margin": 0.4, "max_gap_frames": 3}
    return select(checkpoints, data.index, *arguments, **said, **options)


@pytest.fixture(scope="module")
def selected(tiny_models: Any, held_out_data: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("selected")
    return out, _select(tiny_models, held_out_data, out)


def test_the_winner_follows_from_the_table_by_the_declared_rule(
    selected: tuple[Path, dict], held_out_data: Any
) -> None:
    out, result = selected
    assert json.loads((out / "selection.json").read_text()) == result
    rows = result["rows"]
    assert [(row["checkpoint"], row["step"], row["loss"]) for row in rows] == [
        ("checkpoint-000010", 10, 0.9),
        ("checkpoint-000020", 20, 0.5),
        ("checkpoint-000030", 30, 0.7),
    ]
    errors = [row["expression_error"] for row in rows]
    by_error = [1 + sum(other < error for other in errors) for error in errors]
    assert [row["score"] for row in rows] == [
        (loss + error) / 2 for loss, error in zip((3, 1, 2), by_error, strict=True)
    ]
    best = sorted(rows, key=lambda row: (row["score"], row["l1"], row["step"]))
    assert [row["rank"] for row in best] == [1, 2, 3]
    assert (result["winner"], result["first"]) == (best[0]["checkpoint"], rows[0])
    if held_out_data.landmarker.has_matrix:  # the fallback model sees a face in some noise
        # noise shows no face: all share the first rank by expression error, and the loss decides
        assert [row["landmark_error"] for row in rows] == errors == [1.0, 1.0, 1.0]
        assert (result["winner"], [row["rank"] for row in rows]) == ("checkpoint-000020", [3, 1, 2])
    assert "0.5 x rank by validation loss" in result["rule"]


def test_the_result_compares_the_winner_with_first_checkpoint_and_baseline(selected: tuple[Path, dict]) -> None:
    _, result = selected
    rows = {row["checkpoint"]: row for row in result["rows"]}
    winner, first = rows[result["winner"]], result["first"]
    assert result["beats_first"]["l1"] == (winner["l1"] < first["l1"])
    assert result["beats_baseline"]["l1"] == (winner["l1"] < result["baseline"]["l1"])
    assert winner["l1"] != first["l1"]
    assert 0 < result["baseline"]["landmark_error"] < 1
    assert winner["frames"] == result["baseline"]["frames"] == 2 * 3
    assert result["protocol"]["sampling"]["steps"] == 1  # the selection's, not the recipe's


def test_table_and_plot_are_written(selected: tuple[Path, dict]) -> None:
    out, result = selected
    parquet = pq.read_table(out / "selection.parquet")
    table = parquet.to_pylist()
    described = yaml.safe_load((DATASETS / "schema.yaml").read_text())["selection.parquet"]["columns"]
    for end in ("", "_low", "_high"):
        described |= dict.fromkeys((f"{metric.column}{end}" for metric in METRICS), described.pop(f"<metric>{end}"))
    columns = {field.name: str(field.type) for field in parquet.schema}
    assert columns == {name: column["type"] for name, column in described.items()}
    assert [row["loss"] for row in table] == [row["loss"] for row in result["rows"]]
    for row, told in zip(table, result["rows"], strict=True):
        assert [row["l1_low"], row["l1_high"]] == told["intervals"]["l1"] and row["l1_low"] <= row["l1"]
    with Image.open(out / "selection.png") as plot:
        assert plot.width > 800


def test_the_model_folder_is_the_winners_and_loads(selected: tuple[Path, dict], tiny_models: Any) -> None:
    out, result = selected
    loaded = FollowYourEmojiPipeline.from_pretrained(str(out / "model"))
    winner = next(path for path in tiny_models.checkpoints if path.name == result["winner"])
    expected = assemble_pipeline(winner, tiny_models.parts, "cpu")
    for name in ("appearance_net", "denoiser", "landmark_encoder", "image_prompt", "vae", "image_encoder"):
        theirs = getattr(expected, name).state_dict()
        ours = getattr(loaded, name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name
    assert loaded.scheduler.config["rescale_betas_zero_snr"] is True
    assert loaded.scheduler.config["timestep_spacing"] == "trailing"
    assert loaded.scheduler.config["prediction_type"] == "v_prediction"
    description = need_description(out / "model")
    assert loaded.description == description and description.assumed == ()
    assert (description.checkpoint, description.sampling) == (result["winner"], SAMPLING)
    assert (description.crop.margin, description.max_gap_frames) == (0.4, 3)
    assert description.crop.faces is not None and description.crop.faces.frames == 20
    assert 0.4 < description.crop.faces.longer < 0.8, "the clips hold a face and some room around it"
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
    said = "".join(path.read_text() for path in (out / "model").rglob("*.json"))
    assert str(tiny_models.parts.vae) not in said, "a model says nothing of the machine that it was made on"


def test_selection_is_deterministic_and_replaces_an_older_model(
    selected: tuple[Path, dict], tiny_models: Any, held_out_data: Any, tmp_path: Path
) -> None:
    first, result = selected
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "stale.txt").write_text("old")
    assert _select(tiny_models, held_out_data, tmp_path) == result
    assert not (tmp_path / "model" / "stale.txt").exists()
    for path in first.rglob("*"):
        if path.is_file():
            assert (tmp_path / path.relative_to(first)).read_bytes() == path.read_bytes(), path.name


def test_the_stage_ranks_stage_2_and_holds_it_against_the_start_of_stage_1(
    tiny_models: Any, held_out_data: Any, tmp_path: Path
) -> None:
    files, facts = held_out_data.inputs()
    parts = tiny_models.parts
    files |= {"vae/config.json": parts.vae / "config.json"}
    files |= {"image_encoder/config.json": parts.image_encoder / "config.json"}
    stage1, *stage2 = tiny_models.checkpoints
    files |= {f"checkpoints/train_stage1/{stage1.name}/meta.json": stage1 / "meta.json"}
    files |= {f"checkpoints/train_stage2/{path.name}/meta.json": path / "meta.json" for path in stage2}
    out = tmp_path / "out"
    out.mkdir()
    settings = SelectSettings(
        selection=CONFIG,
        sampling=SAMPLING,
        evaluation=EvaluationConfig(size=64),
        noise=parts.noise,
        landmark_image=LandmarkImageConfig(),
        crop_margin=0.5,
        max_gap_frames=5,
    )
    row = work_on(SELECT, settings, files, facts, out, asset=held_out_data.landmarker)
    result = json.loads((out / "selection.json").read_text())
    assert [entry["checkpoint"] for entry in result["rows"]] == [f"train_stage2/{path.name}" for path in stage2]
    assert row.winner == "train_stage2/checkpoint-000020"
    # the start is measured, and not ranked
    assert result["first"]["checkpoint"] == "train_stage1/checkpoint-000010"
    assert "loss" not in result["first"] and "rank" not in result["first"]
    winner = next(entry for entry in result["rows"] if entry["rank"] == 1)
    assert result["beats_first"]["l1"] == (winner["l1"] < result["first"]["l1"])
    assert (out / "model" / "model_index.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_single_checkpoint_wins_without_a_claim_to_have_improved(
    tiny_models: Any, held_out_data: Any, tmp_path: Path
) -> None:
    result = _select(tiny_models, held_out_data, tmp_path, checkpoints=tiny_models.checkpoints[:1])
    assert result["winner"] == result["first"]["checkpoint"] == "checkpoint-000010"
    assert result["beats_first"] is None


def test_checkpoints_that_cannot_be_ranked_are_named(tiny_models: Any, held_out_data: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkpoints"):
        _select(tiny_models, held_out_data, tmp_path, checkpoints=[])
    copy = tmp_path / "checkpoint-000040"
    shutil.copytree(tiny_models.checkpoints[0], copy)
    (copy / "validation.json").write_text('{"loss": NaN}')
    with pytest.raises(ValueError, match=r"checkpoint-000040.*diverged"):
        validation_loss(copy)
    (copy / "validation.json").unlink()
    with pytest.raises(ValueError, match=r"checkpoint-000040.*validate_every"):
        _select(tiny_models, held_out_data, tmp_path, checkpoints=[*tiny_models.checkpoints, copy])


def test_the_model_says_which_poses_its_clips_show(selected: tuple[Path, dict]) -> None:
    poses = need_description(selected[0] / "model").poses
    assert poses is not None and poses.frames >= 20
    assert -30 < poses.yaw_deg[0] < poses.yaw_deg[1] < 30
    assert need_description(selected[0] / "model").people == 2
    mouths = need_description(selected[0] / "model").mouths
    assert mouths is not None and mouths.frames == poses.frames and 0.3 < mouths.width[1] < 1
