"""A model folder is evaluated on held-out frames, reproducibly, resumably, and with every number declared."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fye_model.animation.folder import assemble_pipeline, save_model
from fye_model.config import EvaluationConfig, LandmarkImageConfig, SamplingConfig
from fye_model.evaluation import identity, quality
from fye_model.evaluation.extra import installed
from fye_model.evaluation.table import METRICS
from tasks.evaluate import EVALUATE, EvaluateSettings, evaluate, file_stem
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.compare import read_run
from tasks.media.read import read_frames
from tasks.results.comparison import compare_runs
from tasks.results.records import number
from tests.fye_model.animation.tiny import describe_tiny
from tests.tasks.support import work_on

SAMPLING = SamplingConfig(steps=2, guidance_scale=2.0, window=4)
CONFIG = EvaluationConfig(frames=4, size=96)


@pytest.fixture(scope="module")
def model_dir(tiny_models: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model_folder") / "model"
    assemble_pipeline(tiny_models.checkpoints[0], tiny_models.parts, "cpu").save_pretrained(folder)
    return folder


def _evaluate(model_dir: Path, data: Any, out: Path, lines: list[str] | None = None) -> dict[str, Any]:
    log = lines.append if lines is not None else lambda line: None
    return evaluate(model_dir, data.index, CONFIG, SAMPLING, data.landmarker, out, log)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def evaluated(model_dir: Path, held_out_data: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("evaluated")
    return out, _evaluate(model_dir, held_out_data, out)


def test_an_untrained_model_loses_to_the_baseline_and_its_failures_are_counted(
    evaluated: tuple[Path, dict], held_out_data: Any
) -> None:
    out, metrics = evaluated
    assert json.loads((out / "metrics.json").read_text()) == metrics
    assert (metrics["protocol"]["clips"], metrics["protocol"]["frames"]) == (2, 8)
    assert metrics["protocol"]["evaluated_size"] == 96
    for name in ("l1", "psnr", "ssim", "landmark_error", "expression_error", "landmark_ap"):
        assert metrics["beats_baseline"][name] is False
        assert metrics["difference"][name]["outcome"] == "worse"
    assert metrics["model"]["no_face_in_result"] == 8  # noise has no face
    assert metrics["model"]["landmark_error"]["mean"] == 1.0
    assert metrics["model"]["landmark_error_found"]["mean"] is None
    assert metrics["baseline"]["no_face_in_result"] == 0
    low, high = metrics["baseline"]["l1"]["ci95"]
    assert low <= metrics["baseline"]["l1"]["mean"] <= high
    without_blendshapes = set() if held_out_data.landmarker.has_matrix else {"aed"}
    without_packages = {name for name, found in (("identity", identity), ("brisque", quality)) if found.lacks()}
    without_weights = {metric.name for metric in METRICS if metric.reads == "networks"}
    assert set(metrics["missing"]) == without_weights | without_blendshapes | without_packages
    assert metrics["protocol"]["metric_packages"] == (", ".join(installed()) or "none")
    assert all(reason.startswith("missing: ") for reason in metrics["missing"].values())


def test_the_table_has_a_row_per_clip_and_method_that_the_aggregates_follow_from(
    evaluated: tuple[Path, dict],
) -> None:
    out, metrics = evaluated
    rows = pq.read_table(out / "results.parquet").to_pylist()
    assert [(row["clip"], row["method"]) for row in rows] == [
        (clip, method) for clip in ("id-talk", "id-turn") for method in ("model", "baseline")
    ]
    for method in ("model", "baseline"):
        mine = [row for row in rows if row["method"] == method]
        assert metrics[method]["l1"]["mean"] == pytest.approx(np.mean([row["l1"] for row in mine]))
        assert all(row["l1"] == pytest.approx(np.mean(row["frame_l1"])) for row in mine)
        assert all(len(row["frame_ssim"]) == row["frames"] == 4 for row in mine)


def test_what_it_leaves_is_what_a_comparison_of_runs_reads(evaluated: tuple[Path, dict]) -> None:
    out, metrics = evaluated
    sections = compare_runs(read_run(out), read_run(out, "baseline")).sections
    assert [section.task for section in sections] == ["self", "cross"]
    for section, measured in zip(sections, (metrics, metrics["cross"]), strict=True):
        found = {row.metric: (row.difference.value, row.outcome) for row in section.rows}
        for name, told in measured["difference"].items():
            if name in measured["missing"] and name not in found:  # neither could measure it
                assert section.not_compared[name] == measured["missing"][name]
            else:
                assert found[name] == (told["mean"], told["outcome"]), name
        assert found["failure_rate"] == (1.0, "worse")


def test_videos_and_strips_show_reference_landmarks_truth_and_result(
    evaluated: tuple[Path, dict], held_out_data: Any
) -> None:
    out, metrics = evaluated
    clip = metrics["clips"][0]
    video = read_frames(out / clip["video"])
    assert video.shape == (4, 96, 4 * 96, 3)
    source = read_frames(held_out_data.index.parent / "talk" / "clip.mp4")[3:8]
    small = [np.asarray(Image.fromarray(frame).resize((96, 96), Image.Resampling.BOX), float) for frame in source]
    for place, frame in enumerate(video.astype(float)):
        columns = np.split(frame, 4, axis=1)
        assert np.abs(columns[0] - small[0]).mean() < 6  # the video is compressed
        assert np.abs(columns[2] - small[1 + place]).mean() < 6
        assert np.abs(columns[3] - small[1 + place]).mean() > 20
        assert np.median(columns[1]) < 30 < columns[1].max()  # lines on black
    with Image.open(out / clip["strip"]) as strip:
        assert strip.width > 4 * 96 and strip.height > 4 * 96


def test_other_people_drive_as_well_and_their_pairs_are_kept_beside_the_clips(
    evaluated: tuple[Path, dict], model_dir: Path, held_out_data: Any, tmp_path: Path
) -> None:
    out, metrics = evaluated
    cross = metrics["cross"]
    assert (cross["pairs"], cross["people"], cross["not_aligned"]) == (2, 2, 0)
    assert [row["pair"] for row in cross["list"]] == ["id-talk--id-turn", "id-turn--id-talk"]
    assert cross["model"]["failure_rate"]["mean"] == 1 and cross["baseline"]["failure_rate"]["mean"] == 0
    assert cross["difference"]["expression_change_error"]["outcome"] == "worse"
    for row in cross["list"]:
        assert read_frames(out / row["video"]).shape == (4, 96, 4 * 96, 3) and (out / row["strip"]).is_file()

    index = json.loads(held_out_data.index.read_text())
    for clip in index["clips"]:
        clip |= {name: str(held_out_data.index.parent / clip[name]) for name in ("landmarks", "video")}
        clip["subject"] = "eileen"
    (tmp_path / "index.json").write_text(json.dumps(index))
    one = evaluate(
        *(model_dir, tmp_path / "index.json", CONFIG.model_copy(update={"clips": 1, "frames": 1}), SAMPLING),
        *(held_out_data.landmarker, tmp_path / "out", lambda line: None),
    )
    assert "only one person (eileen) is held out" in one["cross"]["left_out"]
    assert not (tmp_path / "out" / "cross").exists()


def test_a_killed_evaluation_resumes_to_the_same_bytes(
    evaluated: tuple[Path, dict], model_dir: Path, held_out_data: Any, tmp_path: Path
) -> None:
    first, _ = evaluated
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    lines: list[str] = []
    # as kills would leave it: the second clip and the second pair have no record, the totals are not there
    for name in ("metrics.json", "results.parquet", "records/id-turn.json", "cross/records/id-turn--id-talk.json"):
        (tmp_path / name).unlink()
    stamp = (tmp_path / "videos" / "id-talk.mp4").stat().st_mtime_ns
    _evaluate(model_dir, held_out_data, tmp_path, lines)
    assert [line.endswith("already done") for line in lines] == [True, False, True, False]
    assert (tmp_path / "videos" / "id-talk.mp4").stat().st_mtime_ns == stamp
    assert _contents(tmp_path) == _contents(first)


def test_damaged_or_outdated_records_are_not_believed(
    evaluated: tuple[Path, dict], model_dir: Path, held_out_data: Any, tiny_models: Any, tmp_path: Path
) -> None:
    lines: list[str] = []
    first, before = evaluated
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    os.truncate(tmp_path / "videos" / "id-talk.mp4", 100)
    (tmp_path / "records" / "id-turn.json").write_text("{")
    (tmp_path / "cross" / "strips" / "id-talk--id-turn.png").unlink()
    (tmp_path / "cross" / "records" / "id-turn--id-talk.json").write_text("[]")
    assert _evaluate(model_dir, held_out_data, tmp_path, lines) == before
    assert not any(line.endswith("already done") for line in lines)

    other = tmp_path / "other"
    assemble_pipeline(tiny_models.checkpoints[1], tiny_models.parts, "cpu").save_pretrained(other)
    lines.clear()
    after = _evaluate(other, held_out_data, tmp_path, lines)
    assert not any(line.endswith("already done") for line in lines)
    assert after["model"]["l1"] != before["model"]["l1"]
    assert after["baseline"] == before["baseline"]


def test_another_landmark_model_than_the_data_sets_is_refused(
    model_dir: Path, held_out_data: Any, tmp_path: Path
) -> None:
    asset = held_out_data.landmarker
    other = LandmarkerAsset(asset.path, "attention_mesh:00000000", asset.sha256, False, "test")
    with pytest.raises(ValueError, match="attention_mesh:00000000"):
        evaluate(model_dir, held_out_data.index, CONFIG, SAMPLING, other, tmp_path)


def test_a_model_trained_on_another_drawing_of_landmarks_is_refused(
    tiny_models: Any, held_out_data: Any, tmp_path: Path
) -> None:
    pipeline = assemble_pipeline(tiny_models.checkpoints[0], tiny_models.parts, "cpu")
    model = held_out_data.landmarker.model
    save_model(pipeline, tmp_path / "model", describe_tiny(landmark_model=model, landmark_variant="plain_2d"))
    with pytest.raises(ValueError, match=r"landmark_variant 'plain_2d'.*expression_aware"):
        _evaluate(tmp_path / "model", held_out_data, tmp_path / "out")


def test_a_missing_model_folder_is_named(held_out_data: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing: no such folder"):
        _evaluate(tmp_path / "nothing", held_out_data, tmp_path / "out")


def test_the_stage_writes_what_the_function_writes(
    evaluated: tuple[Path, dict], model_dir: Path, held_out_data: Any, tmp_path: Path
) -> None:
    first, _ = evaluated
    files, facts = held_out_data.inputs()
    files |= {f"model/{path.relative_to(model_dir)}": path for path in model_dir.rglob("*") if path.is_file()}
    out = tmp_path / "out"
    out.mkdir()
    settings = EvaluateSettings(evaluation=CONFIG, sampling=SAMPLING, landmark_image=LandmarkImageConfig())
    row = work_on(EVALUATE, settings, files, facts, out, asset=held_out_data.landmarker)
    assert _contents(out) == _contents(first)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (row.clips, row.frames) == (2, 8)


def test_numbers_come_back_from_json() -> None:
    assert number("inf") == float("inf") and np.isnan(number(None)) and number(0.5) == 0.5


def test_file_names_stay_inside_their_folder() -> None:
    assert file_stem("../../etc/passwd") == "_.._etc_passwd"
    assert file_stem("<img src=x>") == "_img_src_x_"
    assert file_stem("...") == "clip"
