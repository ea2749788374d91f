"""Any method's videos are scored side by side; what is wrong with them is told before anything is computed."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fye_model.config import Runtime
from fye_model.evaluation import identity, quality
from fye_model.evaluation.cross import CROSS_METRICS, SELF_METRICS
from tasks.bench.manifest import Bench
from tasks.bench.methods import check_methods, parse_methods
from tasks.media.read import read_frames, write_video
from tests.tasks.bench.mini import copy_of_the_truth

pytestmark = pytest.mark.usefixtures("prefect_server")


def run_score(bench: Bench, methods: dict[str, Path], output: Path, assets: Path, **more: Any) -> dict[str, Any]:
    from flows.bench import score

    runtime = Runtime(workers=0, assets=assets)
    folders = {name: str(folder) for name, folder in methods.items()}
    state = score(
        bench=str(bench.folder), methods=folders, output=str(output), runtime=runtime, return_state=True, **more
    )
    state.result()
    return json.loads((output / "scores" / "scores.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def methods(mini_bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The truth, the truth two frames late, and videos of a wall."""
    root = tmp_path_factory.mktemp("methods")
    folders = {"truth": copy_of_the_truth(mini_bench, root / "truth")}
    for name in ("late", "wall"):
        folders[name] = root / name
        folders[name].mkdir()
        for pair in mini_bench.pairs:
            row = mini_bench.driver(pair)
            frames = read_frames(mini_bench.path(row.file))
            frames = (
                np.concatenate([frames[:1], frames[:1], frames[:-2]]) if name == "late" else np.full_like(frames, 90)
            )
            write_video(folders[name] / f"{pair.name}.mp4", frames, row.fps, 10)
    return folders


@pytest.fixture(scope="module")
def scored(
    mini_bench: Bench, methods: dict[str, Path], landmarker_task: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("scored") / "out"
    return output, run_score(mini_bench, methods, output, landmarker_task.parent)


def _values(found: dict[str, Any], task: str, method: str) -> dict[str, Any]:
    return {name: cell["value"] for name, cell in found["tasks"][task]["methods"][method].items()}


def test_a_copy_of_the_truth_is_perfect(scored: tuple[Path, dict[str, Any]]) -> None:
    found = scored[1]
    own, cross = _values(found, "self", "truth"), _values(found, "cross", "truth")
    assert (own["l1"], own["psnr"], own["ssim"], own["landmark_ap"], own["landmark_error"]) == (0, "inf", 1, 1, 0)
    assert own["expression_error"] == 0 and own["expression_correlation"] == pytest.approx(1)
    assert (cross["landmark_ap_placed"], cross["aed"], cross["apd_rotation"]) == (1, 0, pytest.approx(0, abs=1e-4))
    assert cross["expression_correlation"] == pytest.approx(1) and cross["expression_change_error"] < 1e-12
    assert cross["pose.yaw.slope"] == pytest.approx(1) and own["failure_rate"] == cross["failure_rate"] == 0


def test_every_metric_is_there_for_every_method_and_those_without_weights_say_why(
    scored: tuple[Path, dict[str, Any]],
) -> None:
    found = scored[1]
    assert found["methods"] == ["truth", "late", "wall", "reference"]
    for task, metrics, absent in (
        ("self", SELF_METRICS, {"lpips", "lpips_vgg", "tlp", "fvd", "arcface", "arcface_r100", "hyperiqa"}),
        ("cross", CROSS_METRICS, {"arcface", "arcface_r100", "hyperiqa"}),
    ):
        scores = found["tasks"][task]
        packaged = {name for name, found in (("identity", identity), ("brisque", quality)) if found.lacks()}
        assert set(scores["missing"]) == absent | packaged & {metric.name for metric in metrics}
        assert all(scores["missing"][name].startswith("missing: needs the weights ") for name in absent)
        for method in found["methods"]:
            assert set(scores["methods"][method]) == {metric.name for metric in metrics}


def test_identity_and_quality_are_measured_or_missing_with_a_word_on_how_to_get_them(
    scored: tuple[Path, dict[str, Any]],
) -> None:
    output, found = scored
    notes = (output / "scores" / "table.md").read_text()
    reference = found["tasks"]["cross"]["methods"]["reference"]
    if reason := identity.lacks():
        assert reference["identity"] == {"value": None, "interval": None, "pairs": 0, "reason": reason}
        assert f"Identity distance: missing: {reason}" in notes
    else:
        # the portrait repeated is the portrait; the one in which no face is found has no identity to keep
        assert (reference["identity"]["value"], reference["identity"]["pairs"]) == (0, 2)
        assert _values(found, "self", "truth")["identity"] == 0
        assert _values(found, "self", "wall")["identity"] == _values(found, "cross", "wall")["identity"] == 1
    if reason := quality.lacks():
        assert f"BRISQUE: missing: {reason}" in notes
    else:
        assert _values(found, "cross", "truth")["brisque"] < _values(found, "cross", "wall")["brisque"]
    assert (
        _values(found, "self", "truth")["dynamics.lips"] == 1 and _values(found, "self", "wall")["dynamics.lips"] == 0
    )


def test_results_without_a_face_count_in_every_number(scored: tuple[Path, dict[str, Any]]) -> None:
    for task, pairs in (("cross", 3), ("self", 2)):
        cells = scored[1]["tasks"][task]["methods"]["wall"]
        assert cells["failure_rate"]["value"] == 1
        assert cells["aed"]["value"] == 0.25 and cells["aed"]["pairs"] == pairs
        assert cells["apd_rotation"]["value"] == 45 and cells["expression_correlation"]["value"] == 0
    # the portrait in which no face is found, repeated, fails as well: one of three cross pairs
    assert _values(scored[1], "cross", "reference")["failure_rate"] == pytest.approx(1 / 3)
    away = {method: _values(scored[1], "cross", method)["portrait_away"] for method in ("reference", "wall")}
    assert away["reference"] == 0 < away["wall"]
    assert scored[1]["strata"]["not detectable"]["reference"]["failure_rate"]["value"] == 1


def test_the_table_ranks_the_truth_before_the_late_one_before_the_wall(scored: tuple[Path, dict[str, Any]]) -> None:
    for task, names in (("self", ("l1", "landmark_ap")), ("cross", ("landmark_ap_placed", "expression_change_error"))):
        rows = {(row["metric"], row["ours"], row["theirs"]): row for row in scored[1]["tasks"][task]["differences"]}
        for name in names:
            assert rows[name, "truth", "late"]["outcome"] == "better"
            assert rows[name, "late", "wall"]["outcome"] == "better"


def test_tables_say_the_same_in_all_formats(scored: tuple[Path, dict[str, Any]]) -> None:
    output, found = scored
    with (output / "scores" / "table.csv").open(newline="") as handle:
        rows = {(row["task"], row["method"], row["metric"]): row for row in csv.DictReader(handle)}
    value = _values(found, "self", "late")["l1"]
    assert float(rows["self", "late", "l1"]["value"]) == value
    assert rows["cross", "late", "arcface"]["reason"].startswith("missing: ")
    for name in ("table.md", "table.html"):
        text = (output / "scores" / name).read_text()
        assert f"{value:.4f}" in text and "LPIPS" in text and "missing" in text and "late − wall" in text
    with (output / "scores" / "pairs.csv").open(newline="") as handle:
        assert len(list(csv.DictReader(handle))) == 5 * 4


def test_scoring_again_computes_nothing_and_says_the_same(
    scored: tuple[Path, dict[str, Any]], mini_bench: Bench, methods: dict[str, Path], landmarker_task: Path
) -> None:
    output, _ = scored
    before = contents(output / "scores")
    run_score(mini_bench, methods, output, landmarker_task.parent)
    summary = json.loads((output / "summary.json").read_text())
    assert {stage["stage"]: stage["computed"] for stage in summary["stages"]} == {
        "bench_probe": 0,
        "bench_faces": 0,
        "bench_score": 0,
    }
    assert contents(output / "scores") == before


def test_other_frames_can_be_scored(
    scored: tuple[Path, dict[str, Any]], mini_bench: Bench, methods: dict[str, Path], landmarker_task: Path
) -> None:
    one = {"truth": methods["truth"]}
    found = run_score(mini_bench, one, scored[0], landmarker_task.parent, protocol="moving")
    assert found["protocol"]["scored frames"].startswith("moving") and found["pairs"][0]["frames"] == 11


def test_all_that_is_wrong_with_results_is_named_at_once_and_nothing_is_computed(
    mini_bench: Bench, methods: dict[str, Path], landmarker_task: Path, tmp_path: Path
) -> None:
    bad = Path(shutil.copytree(methods["truth"], tmp_path / "bad"))
    names = [pair.name for pair in mini_bench.pairs]
    frames = read_frames(bad / f"{names[0]}.mp4")
    (bad / f"{names[0]}.mp4").unlink()
    write_video(bad / f"{names[1]}.mp4", frames[:-1], 30.0, 10)
    write_video(bad / f"{names[2]}.mp4", frames[:, :64, :64], 25.0, 10)
    write_video(bad / f"{names[3]}.mp4", frames[:, :64], 25.0, 10)
    (bad / f"{names[4]}.mp4").write_text("no video")
    (bad / "readme.txt").touch()
    output = tmp_path / "out"
    with pytest.raises(ValueError, match="problems with the results, so nothing was scored") as caught:
        run_score(mini_bench, {"good": methods["late"], "bad": bad}, output, landmarker_task.parent)
    told = str(caught.value).splitlines()[1:]
    for number, what in (
        (0, "is missing"),
        (1, "11 frames, the driving video"),
        (1, "30 frames a second, the driving video"),
        (2, "64x64 pixels, expected 128x128"),
        (3, "128x64 pixels; expected a square"),
        (4, "cannot be read: not_a_video"),
    ):
        assert any(f"bad: {names[number]}.mp4" in line and what in line for line in told), (names[number], what, told)
    assert any("readme.txt belongs to no pair" in line for line in told) and len(told) == 7
    assert not any("good" in line for line in told) and str(tmp_path) not in str(caught.value)
    assert not (output / "items" / "bench_faces").exists() and not (output / "scores").exists()


def test_files_that_only_look_like_videos_are_named_one_by_one(
    mini_bench: Bench, methods: dict[str, Path], landmarker_task: Path, tmp_path: Path
) -> None:
    bad = Path(shutil.copytree(methods["late"], tmp_path / "bad"))
    files = [bad / f"{pair.name}.mp4" for pair in mini_bench.pairs]
    Image.new("RGB", (128, 128)).save(bad / "picture.png")
    (bad / "picture.png").rename(files[0])
    files[1].write_bytes(files[1].read_bytes()[: files[1].stat().st_size // 2])
    files[2].write_bytes(b"")
    files[3].unlink()
    files[3].symlink_to(tmp_path / "gone.mp4")
    files[4].unlink()
    files[4].mkdir()
    with pytest.raises(ValueError, match="5 problems with the results, so nothing was scored") as caught:
        run_score(mini_bench, {"bad": bad}, tmp_path / "out", landmarker_task.parent)
    told = str(caught.value).splitlines()[1:]
    for number, what in enumerate(
        ("1 frames, the", "truncated", "zero_bytes", "a link that leads nowhere", "is missing")
    ):
        (line,) = [line for line in told if files[number].name in line]
        assert what in line, line
    assert not (tmp_path / "out" / "scores").exists()


def test_an_output_in_what_is_read_is_refused_and_nothing_is_written(
    mini_bench: Bench, methods: dict[str, Path], landmarker_task: Path, tmp_path: Path
) -> None:
    before = {path for folder in (mini_bench.folder, methods["truth"]) for path in folder.rglob("*")}
    for output, what in (
        (mini_bench.folder, "which is the bench"),
        (mini_bench.folder / "scores", "which is the bench"),
        (methods["truth"] / "out", "which is method truth"),
    ):
        with pytest.raises(ValueError, match=what):
            run_score(mini_bench, {"truth": methods["truth"]}, output, landmarker_task.parent)
    assert before == {path for folder in (mini_bench.folder, methods["truth"]) for path in folder.rglob("*")}


def test_methods_given_as_a_mapping_are_checked_as_those_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        check_methods(
            {"../x": str(tmp_path), "reference": str(tmp_path), "b": str(tmp_path / "no"), "ok": str(tmp_path)}
        )
    told = str(caught.value).splitlines()
    assert ["method '../x'" in told[0], "portrait repeated" in told[1], "not a folder" in told[2]] == [True] * 3
    assert len(told) == 3 and check_methods({"ok": str(tmp_path)}) == {"ok": tmp_path}


def test_a_bench_that_is_not_whole_is_not_scored(
    mini_bench: Bench, methods: dict[str, Path], landmarker_task: Path, tmp_path: Path
) -> None:
    from tasks.bench.manifest import read_bench

    copy = Path(shutil.copytree(mini_bench.folder, tmp_path / "bench"))
    (copy / mini_bench.driving[0].file).unlink()
    with pytest.raises(ValueError, match=r"is not whole:\n  driving/astronaut-talk.mp4: missing"):
        run_score(read_bench(copy), {"truth": methods["truth"]}, tmp_path / "out", landmarker_task.parent)


def test_wrong_methods_are_named_one_by_one(tmp_path: Path) -> None:
    words = ["truth", f"reference={tmp_path}", f"a={tmp_path}", f"a={tmp_path}", "b=absent", f"../x={tmp_path}"]
    with pytest.raises(ValueError) as caught:
        parse_methods(words)
    told = str(caught.value).splitlines()
    assert len(told) == 5
    for line, what in zip(
        told, ("NAME=FOLDER", "portrait repeated", "given before", "not a folder", "NAME=FOLDER"), strict=True
    ):
        assert what in line
    assert parse_methods([f"Face Vid2vid={tmp_path}"]) == {"Face Vid2vid": tmp_path}
