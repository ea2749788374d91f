"""A bench that is not what its manifest says is told so, problem by problem."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fye_model.files import file_digest
from tasks.bench import check
from tasks.bench.check import check_bench, need_bench
from tasks.bench.manifest import TABLES, Bench
from tasks.jobs.build_bench import BuildSettings

DATASETS = Path(__file__).resolve().parents[3] / "datasets"


@pytest.fixture
def copy(mini_bench: Bench, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mini_bench.folder, tmp_path / "bench"))


def _edit(path: Path, change: Callable[[list[dict[str, str]]], None]) -> None:
    """Change a table, and have the manifest vouch for it: what a bench made by hand could hold."""
    with path.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    names = list(rows[0])
    change(rows)
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    _vouch(path)


def _vouch(path: Path) -> None:
    header = json.loads((path.parent / "bench.json").read_text())
    header["files"][path.name] = {"size": path.stat().st_size, "sha256": file_digest(path)}
    (path.parent / "bench.json").write_text(json.dumps(header))


def test_a_whole_bench_has_no_problems_and_differs_from_the_papers(mini_bench: Bench) -> None:
    checked = check_bench(mini_bench.folder)
    assert checked.problems == () and checked.bench == mini_bench
    for told in (
        "portraits: 2, the paper has 410",
        "sources of portraits: 2, the paper has 20",
        "animals with a detectable face: 0, the paper has 20",
        "driving videos: 2, the paper has 45",
        "style animal: no portrait",
        "licence unknown of 2 portraits",
        "tag frown: no driving video has it",
        "astronaut-talk: 12 frames, 0.5 s; the paper has about 150 frames, 5 s",
        "4 files were offered and not taken",
    ):
        assert any(told in difference for difference in checked.differences), told


def test_missing_changed_and_extra_files_are_named_one_by_one(copy: Path) -> None:
    (copy / "portraits" / "wall.png").unlink()
    video = copy / "driving" / "astronaut-turn.mp4"
    video.write_bytes(video.read_bytes()[:-1] + b"?")
    (copy / "portraits" / "some-face.png").write_bytes(b"short")
    (copy / "notes.txt").touch()
    problems = check_bench(copy).problems
    assert len(problems) == 4
    for start in (
        "portraits/wall.png: missing",
        "driving/astronaut-turn.mp4: sha256 ",
        "portraits/some-face.png: 5 bytes, expected",
        "notes.txt: an extra file",
    ):
        assert any(problem.startswith(start) for problem in problems), (start, problems)
    with pytest.raises(ValueError, match=r"(?s)is not whole:\n.*wall.png: missing"):
        need_bench(copy)


@pytest.mark.parametrize("name", ["../outside.png", "/etc/passwd", "a/../../b.png", "C:/x.png", "a\\b.png", "link.png"])
def test_a_path_that_leaves_the_folder_is_refused_and_not_opened(copy: Path, name: str) -> None:
    (copy.parent / "outside.png").write_bytes(b"secret")
    (copy / "link.png").symlink_to(copy.parent / "outside.png")
    header = json.loads((copy / "bench.json").read_text())
    header["files"][name] = {"size": 6, "sha256": "0" * 64}
    (copy / "bench.json").write_text(json.dumps(header))
    _edit(copy / "portraits.csv", lambda rows: rows[0].update(file=name))
    told = [problem for problem in check_bench(copy).problems if repr(name) in problem]
    assert len(told) == 2 and all("folder" in problem and "sha256" not in problem for problem in told)


def test_rows_that_do_not_fit_together_are_named(copy: Path) -> None:
    def spoil(rows: list[dict[str, str]]) -> None:
        rows[0]["portrait"] = "nobody"
        rows[1]["kind"] = "self"
        rows.append(dict(rows[2]))

    _edit(copy / "pairs.csv", spoil)
    problems = "\n".join(check_bench(copy).problems)
    for told in ("there is no portrait nobody", "is called self", "is there 2 times"):
        assert told in problems


def test_a_video_that_is_not_what_its_row_says_is_named(copy: Path) -> None:
    _edit(copy / "driving.csv", lambda rows: rows[0].update(frames="13", fps="30.0"))
    _edit(copy / "portraits.csv", lambda rows: rows[0].update(size="64"))
    problems = "\n".join(check_bench(copy).problems)
    for told in (
        "12 frames, the driving video astronaut-talk has 13",
        "25 frames a second",
        "128x128 pixels, expected 64",
    ):
        assert told in problems


def test_cells_that_cannot_be_read_are_told_with_line_and_column(copy: Path) -> None:
    _edit(copy / "driving.csv", lambda rows: rows[1].update(fps="fast"))
    (problem,) = check_bench(copy).problems
    assert "driving.csv, line 3, fps" in problem and "'fast'" in problem


def test_what_is_no_bench_is_told_in_one_line(copy: Path, tmp_path: Path) -> None:
    assert "is no bench: it has no bench.json" in check_bench(tmp_path).problems[0]
    for text, told in (
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read (nested without end)"),
        ('{"schema": 9}', "schema 9; this version reads 1"),
        ("[]", "schema 'list'"),
    ):
        (copy / "bench.json").write_text(text)
        assert told in check_bench(copy).problems[0]


def test_the_papers_composition_is_the_data_cards() -> None:
    head = (DATASETS / "emojibench" / "README.md").read_text().split("---\n")[1]
    counts = yaml.safe_load(head)["counts"]
    assert counts == {
        "portraits": check.PAPER_PORTRAITS,
        "text_to_image_models": check.PAPER_MODELS,
        "animal_portraits": check.PAPER_ANIMALS,
        "driving_videos": check.PAPER_VIDEOS,
        "seconds_per_video": check.PAPER_SECONDS,
        "frames_per_video": check.PAPER_FRAMES,
    }


def test_the_schema_describes_every_column() -> None:
    schema = yaml.safe_load((DATASETS / "emojibench" / "schema.yaml").read_text())
    for name, record in TABLES.items():
        assert list(schema[name]["columns"]) == list(record.model_fields), name
    made = schema["bench.json"]["keys"]["made"]
    assert all(field in made for field in BuildSettings.model_fields)
