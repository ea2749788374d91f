"""A study hides who made what, is the same for the same inputs, and is not begun with videos that do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from flows.cli import app
from tasks.bench.manifest import Bench
from tasks.jobs.build_study import build_study
from tasks.media.read import read_frames
from tasks.media.write import write_video
from tasks.study.manifest import PAGE_FOLDER, STUDY, Study, StudySettings, read_study, study_id
from tasks.study.page import ShownCase, study_page
from tests.tasks.study.conftest import SETTINGS
from tests.tasks.study.small import FPS, FRAMES, LEVEL, METHODS, SIZE

EVIL = "</script><script>alert(1)</script>"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def build(bench: Bench, methods: dict[str, Path], output: Path, settings: StudySettings = SETTINGS) -> Study:
    return build_study(bench.folder, methods, output, settings, lambda line: None)


def test_every_letter_shows_the_method_that_the_key_says(built: tuple[Path, Study], bench: Bench) -> None:
    folder, study = built
    assert read_study(folder) == study and len(study.cases) == SETTINGS.cases
    media = folder / PAGE_FOLDER / "media"
    for case in study.cases:
        assert case.kind == "cross" and sorted(case.slots.values()) == sorted(METHODS)
        for letter, method in case.slots.items():
            frames = read_frames(media / f"{case.id}-{letter}.mp4", [0, FRAMES - 1])
            assert np.abs(frames.mean() - LEVEL * (1 + METHODS.index(method))) < LEVEL / 4
    assert len({tuple(case.slots.values()) for case in study.cases}) > 1, "the order changes from case to case"


def test_nothing_that_raters_get_names_a_method(built: tuple[Path, Study]) -> None:
    files = contents(built[0] / PAGE_FOLDER)
    assert {name for name in files if not name.startswith("media/")} == {"index.html"}
    for name, content in files.items():
        for method in METHODS:
            assert method not in name and method.encode() not in content, name


def test_results_of_any_size_codec_and_title_become_alike(
    bench: Bench, methods: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(methods["ours"], tmp_path / "large"))
    frames = [np.full((2 * SIZE, 2 * SIZE, 3), 90, np.uint8)] * FRAMES
    for path in folder.iterdir():
        with av.open(str(path), "w", format="mp4") as file:
            file.metadata["title"] = "made by us"
            stream = file.add_stream("mpeg4", rate=int(FPS))
            stream.width = stream.height = 2 * SIZE
            for frame in frames:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format="yuv420p")))
            file.mux(stream.encode(None))
    study = build(bench, {"ours": folder, "theirs": methods["theirs"]}, tmp_path / "study")
    for video in (tmp_path / "study" / PAGE_FOLDER / "media").glob("c*.mp4"):
        with av.open(str(video)) as file:
            of = file.streams.video[0]
            assert (of.codec_context.name, of.width, of.frames) == ("h264", study.made.size, FRAMES)
            assert "title" not in file.metadata


def test_the_same_inputs_give_the_same_bytes_and_another_seed_another_study(
    built: tuple[Path, Study], bench: Bench, methods: dict[str, Path], tmp_path: Path
) -> None:
    again = build(bench, methods, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(built[0])
    other = build(bench, methods, tmp_path / "other", SETTINGS.model_copy(update={"seed": 4}))
    assert other.id != again.id and other.cases != again.cases


def test_self_pairs_are_shown_when_they_are_asked_for_and_fewer_than_wanted_are_all(
    bench: Bench, methods: dict[str, Path], tmp_path: Path
) -> None:
    study = build(bench, methods, tmp_path / "study", StudySettings(cases=45, pairs="all", size=64))
    assert sorted(case.pair.name for case in study.cases) == sorted(pair.name for pair in bench.pairs)
    assert len({case.id for case in study.cases}) == 7


def test_everything_that_is_wrong_is_named_before_anything_is_written(
    bench: Bench, methods: dict[str, Path], tmp_path: Path
) -> None:
    bad = {name: Path(shutil.copytree(folder, tmp_path / name)) for name, folder in methods.items()}
    (bad["ours"] / "p0__v0.mp4").unlink()
    (bad["ours"] / "notes.txt").write_text("mine")
    (bad["theirs"] / "p1__v1.mp4").write_bytes(b"no video")
    frame = np.zeros((SIZE, SIZE, 3), np.uint8)
    write_video(bad["third"] / "p2__v1.mp4", [frame] * (FRAMES - 1), FPS)
    write_video(bad["third"] / "p2__v0.mp4", [frame] * FRAMES, 2 * FPS)
    write_video(bad["third"] / "p0__v1.mp4", [frame[: SIZE // 2]] * FRAMES, FPS)
    with pytest.raises(ValueError, match="so no study was built") as error:
        build(bench, bad, tmp_path / "study", StudySettings(size=64))
    for told in (
        "6 problems",
        "ours: p0__v0.mp4 is missing",
        "ours: notes.txt belongs to no pair of the bench",
        "theirs: p1__v1.mp4: cannot be read",
        f"third: p2__v1.mp4: {FRAMES - 1} frames, the driving video v1 has {FRAMES}",
        "third: p2__v0.mp4: 50 frames a second",
        f"third: p0__v1.mp4: {SIZE}x{SIZE // 2} pixels; expected a square",
    ):
        assert told in str(error.value)
    assert not (tmp_path / "study").exists()


def test_one_method_a_folder_that_is_there_and_a_bench_without_such_pairs_are_refused(
    bench: Bench, methods: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="a study compares 2 to 26 methods, got 1"):
        build(bench, {"ours": methods["ours"]}, tmp_path / "study")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "answers.json").write_text("precious")
    with pytest.raises(ValueError, match=r"mine is there already.*give a new folder"):
        build(bench, methods, tmp_path / "mine")
    assert (tmp_path / "mine" / "answers.json").read_text() == "precious"


def test_names_never_run(built: tuple[Path, Study]) -> None:
    """Names are checked where they come in; the page does not count on it."""
    study = built[1].model_copy(update={"id": EVIL})
    page = study_page(study, [ShownCase(EVIL, EVIL, EVIL, {"a": EVIL, "b": EVIL})])
    assert page.count("<script>") == page.count("</script>") == 1 and "alert" in page


def test_a_key_that_was_changed_is_refused(built: tuple[Path, Study], tmp_path: Path) -> None:
    values = json.loads((built[0] / STUDY).read_text())
    slots = values["cases"][0]["slots"]
    slots["a"], slots["b"] = slots["b"], slots["a"]
    (tmp_path / STUDY).write_text(json.dumps(values))
    with pytest.raises(ValueError, match="was changed after it was written"):
        read_study(tmp_path)
    (tmp_path / STUDY).write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        read_study(tmp_path)
    with pytest.raises(ValueError, match=r"is no study: it has no study\.json"):
        read_study(tmp_path / "nowhere")
    assert study_id(built[1]) == built[1].id


def test_the_command_says_what_is_for_whom(
    bench: Bench, methods: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "build", "--bench", str(bench.folder), "--output", str(tmp_path / "out"), "--size", "64"]
    for name, folder in methods.items():
        words += ["--method", f"{name}={folder}"]
    assert app(words, result_action="return_value") == 0
    said = capsys.readouterr().out
    assert "6 cases of 3 methods (the bench has no more cross pairs)" in said
    assert f"for raters   {tmp_path / 'out' / 'page'}" in said and f"{tmp_path / 'out' / 'study.json'}" in said
    assert Image.open(tmp_path / "out" / "page" / "media" / "p1.png").size == (64, 64)
    words[words.index("64")] = "65"
    with pytest.raises(ValueError, match=r"size: .*multiple of 2"):
        app(words, result_action="return_value")
