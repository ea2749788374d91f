"""The whole pipeline at tiny size: finished, cached, repaired, extended, ablated; damage costs what was damaged."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fye_model.config import Runtime
from tasks.engine import pool
from tasks.engine.store import Store
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.clean import clean
from tasks.media.read import probe, read_frames
from tasks.media.write import write_video
from tasks.plan import STAGES
from tasks.workspace.kept_runs import kept_runs
from tasks.workspace.steps import Steps

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]

RUNTIME = Runtime(workers=2, threads=1)


class Lab:
    """One work folder, the videos it trains on, and the flows over them."""

    def __init__(self, root: Path, clips: list[Path]) -> None:
        self.work, self.videos = root / "work", root / "videos"
        self.videos.mkdir()
        for clip in clips:
            shutil.copy(clip, self.videos)
        (self.videos / "not-a-video.mp4").write_text("this is a text file")

    def copy(self, root: Path) -> Lab:
        """The same videos and a copy of the work folder, for what must leave nothing in this one."""
        other = copy.copy(self)
        other.work = root / "work"
        shutil.copytree(self.work, other.work, symlinks=True)
        return other

    def run(self, flow: Any, **parameters: Any) -> tuple[Any, dict[str, Any]]:
        common = {"work": str(self.work), "recipe": "debug", "runtime": RUNTIME}
        state = flow(**common, **parameters, return_state=True)
        assert state.is_completed(), state
        return state, json.loads((self.work / "summary.json").read_text())

    def retrain(self) -> tuple[Any, dict[str, Any]]:
        from flows.retrain import retrain

        return self.run(retrain, videos=str(self.videos))


@pytest.fixture(scope="module")
def lab(
    tmp_path_factory: pytest.TempPathFactory, landmarker_asset: LandmarkerAsset, sample_clips: list[Path]
) -> Iterator[Lab]:
    yield Lab(tmp_path_factory.mktemp("lab"), sample_clips)
    pool.shutdown()


@pytest.fixture(scope="module")
def first(lab: Lab) -> tuple[Any, dict[str, Any]]:
    return lab.retrain()


def stages(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {stage["stage"]: stage for stage in summary["stages"]}


def test_videos_become_an_evaluated_model_and_a_report(lab: Lab, first: tuple[Any, dict[str, Any]]) -> None:
    state, summary = first
    assert state.name == summary["status"] == "CompletedWithQuarantine"
    asked = [stage.name for stage in STAGES if stage.name != "lip_sync"]  # which needs weights
    assert [stage["stage"] for stage in summary["stages"]] == asked
    assert summary["selected_checkpoint"].startswith("train_stage2/checkpoint-")
    for scores in (summary["metrics"], summary["baseline"]):
        assert 0 < scores["l1"] < 1 and 0 < scores["ssim"] <= 1
    assert summary["cross"]["pairs"] == 1 and summary["cross"]["baseline"]["failure_rate"] == 0, "two files, two people"
    assert {"lpips", "fvd"} <= {name.lower() for name in summary["missing_metrics"]}
    for place in summary["outputs"].values():
        assert Path(place).exists(), place
    assert (lab.work / "model" / "model_index.json").is_file()
    assert (
        summary["outputs"]["animation"] == str(lab.work / "animation.mp4") and probe(lab.work / "animation.mp4").frames
    )
    assert "repeating the reference" in summary["verdict"] and "too little to know" in summary["verdict"]
    report = Path(summary["outputs"]["report"]).read_text()
    assert "not_a_video" in report and summary["landmark_model"] in report


def test_the_bad_file_has_a_quarantine_row_and_the_rest_a_manifest(lab: Lab, first: tuple[Any, Any]) -> None:
    (row,) = pq.read_table(lab.work / "quarantine.parquet").to_pylist()
    assert (row["stage"], row["name"], row["reason"]) == ("clips", "not-a-video", "not_a_video")
    manifest = pq.read_table(lab.work / "manifest.parquet").to_pylist()
    assert {entry["landmark_model"] for entry in manifest} == {first[1]["landmark_model"]}
    assert sum(entry["stage"] == "landmarks" and entry["status"] == "done" for entry in manifest) == 2


def test_a_second_run_finds_every_stage_cached_also_after_a_cleaning(
    lab: Lab, first: tuple[Any, dict[str, Any]]
) -> None:
    unused = lab.work / "items" / "clips" / ("0" * 32)
    shutil.copytree(next((lab.work / "items" / "clips").iterdir()), unused)
    assert [one.path for one in clean(Store(lab.work))] == [unused.relative_to(lab.work).as_posix()]
    _, again = lab.retrain()
    assert {stage["state"] for stage in again["stages"]} == {"Cached"}
    assert again["metrics"] == first[1]["metrics"]
    runs = kept_runs(Store(lab.work))
    assert [sum(stage.computed for stage in run.stages) > 0 for run in runs] == [True, False], "both are remembered"
    assert runs[0].manifests == runs[1].manifests and all((lab.work / path).is_file() for path in runs[0].manifests)


@pytest.fixture(scope="module")
def ablated(
    lab: Lab, first: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Lab, dict[str, Any], dict[str, Any]]:
    """A copy of the lab in which the paper's Table 2 was made of the retrain, with one of its variants."""
    other = lab.copy(tmp_path_factory.mktemp("ablation"))
    return other, *_ablate(other)


def _ablate(lab: Lab) -> tuple[dict[str, Any], dict[str, Any]]:
    from flows.ablate import ablate

    _, summary = lab.run(ablate, videos=str(lab.videos), variants=["without_expression_ffg"])
    return json.loads((lab.work / "ablation" / "ablation.json").read_text()), summary


def test_an_ablation_finds_the_retrains_model_and_makes_what_differs_alone(
    lab: Lab, ablated: tuple[Lab, Any, Any]
) -> None:
    work, found, summary = ablated[0].work, *ablated[1:]
    shared, own = ("encoders", "latents"), ("train_stage1", "train_stage2", "select", "evaluate")
    assert set(found["variants"]) == {"full", "without_expression_ffg"}
    full, without = (found["variants"][name]["stages"][0] for name in ("full", "without_expression_ffg"))
    assert full == dict.fromkeys((*shared, *own), "cached"), "the retrain has made it"
    assert without == {**dict.fromkeys(shared, "cached"), **dict.fromkeys(own, "computed")}
    for name, more in {"clips": 0, "latents": 0, "encoders": 0, "train_stage1": 1, "evaluate": 1}.items():
        there, here = (len(list((root / "items" / name).glob("*/receipt.json"))) for root in (lab.work, work))
        assert here == there + more, name
    states = [(stage["stage"], stage["state"]) for stage in summary["stages"]]
    assert states[-6:-4] == [("encoders", "Cached"), ("latents", "Cached")]


def test_the_ablations_table_has_both_and_their_evaluations_lie_beside_it(ablated: tuple[Lab, Any, Any]) -> None:
    work, found, summary = ablated[0].work, *ablated[1:]
    for task, count in (("self", 1), ("cross", 1)):
        table = found["tasks"][task]
        assert table["clips"] == count and set(table["differences"]) == {"without_expression_ffg"}
    checkpoints = found["variants"]["without_expression_ffg"]["checkpoints"]
    assert checkpoints[0].startswith("train_stage2/checkpoint-")
    for name in found["variants"]:
        assert (work / "ablation" / name / "seed-0" / "metrics.json").is_file()
    page = (work / "ablation" / "table.html").read_text()
    assert "without expression FFG" in page and page.count("data:image/png;base64,") == 2
    assert all(Path(place).exists() for place in summary["outputs"].values())


def test_a_second_ablation_finds_everything_and_says_the_same(ablated: tuple[Lab, Any, Any]) -> None:
    other, found, _ = ablated
    again, summary = _ablate(other)
    assert {stage["state"] for stage in summary["stages"]} == {"Cached"}
    assert again["tasks"] == found["tasks"]


def test_prefects_page_shows_how_far_single_items_are_and_a_summary(lab: Lab, first: tuple[Any, Any]) -> None:
    from prefect.client.orchestration import get_client

    run = first[0].state_details.flow_run_id  # others of this file show summaries too
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(limit=200)
    shown = {artifact.key: artifact for artifact in artifacts if artifact.flow_run_id == run}
    assert shown["train-stage1-progress"].data == 100 and "step 4/4" in shown["train-stage1-progress"].description
    assert {"encoders-progress", "train-stage2-progress", "select-progress", "evaluate-progress"} <= set(shown)
    page = shown["summary"].data
    assert "| train\\_stage1 | " in page and "data:image/jpeg;base64" in page and "| Landmark error | " in page
    assert (lab.work / "report" / "report.html").as_uri() in shown["report"].data


def weekly(lab: Lab, **parameters: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    from flows.weekly import retrain_weekly

    _, summary = lab.run(retrain_weekly, **parameters)
    return summary["promotion"], summary


def test_a_weekly_run_promotes_by_the_rule_alone_and_not_what_somebody_went_back_from(
    lab: Lab, first: tuple[Any, dict[str, Any]]
) -> None:
    from tasks.engine.store import Store
    from tasks.workspace.promoted import current_model, offer, promote, roll_back

    store, free = Store(lab.work), ["promotion.clips=1", "promotion.better=[]", "promotion.not_worse=[]"]
    line, summary = weekly(lab)
    assert {stage["state"] for stage in summary["stages"]} == {"Cached"}, "nothing is trained twice"
    assert not line["promoted"] and "the rule wants 5" in line["why"] and current_model(store) is None
    line, _ = weekly(lab, overrides=free, approval=True)
    assert line["waiting"] and f"fye promote --work {store.url} --model {line['model']}" in line["why"]
    line, _ = weekly(lab, overrides=free)
    assert line["promoted"] and current_model(store).id == line["model"]
    assert (lab.work / "promoted").resolve() == (lab.work / "model").resolve()
    assert "in use already" in weekly(lab)[0]["why"]
    model = current_model(store)
    files = {**model.files, "model/more": model.files["model/model_index.json"]}
    promote(store, offer(store, model.model_copy(update={"files": files})), "another one")
    promote(store, line["model"], "by hand")
    roll_back(store, "the mouth")
    line, _ = weekly(lab, overrides=free)
    assert not line["promoted"] and "somebody went back from it: the mouth" in line["why"]


def test_a_weekly_run_that_goes_on_trains_from_the_model_in_use(
    lab: Lab, first: tuple[Any, dict[str, Any]], tmp_path: Path
) -> None:
    """With a step that changes nothing, what stage 1 leaves is what it was given."""
    from tasks.workspace.promoted import current_model, promote

    lab = lab.copy(tmp_path)
    store, still = Store(lab.work), ["train.stage1.learning_rate=1e-30", "train.stage1.steps=1"]
    promote(store, None, "to go on from")
    model, trained = current_model(store), lab.work / "items" / "train_stage1"
    before = set(trained.iterdir())
    _, summary = weekly(lab, overrides=still, start="last")
    assert stages(summary)["encoders"]["computed"] == 1, "its encoders are another's"
    (made,) = set(trained.iterdir()) - before
    (weights,) = (weights_of(made / name) for name in os.listdir(made) if name.startswith("checkpoint-"))
    given = weights_of((lab.work / model.files["init/meta.json"][0]).parent)
    assert weights.keys() == given.keys() and len(weights) > 100
    assert max(float((weights[name] - given[name]).abs().max()) for name in weights) < 1e-12


def weights_of(checkpoint: Path) -> dict[str, Any]:
    """Every weight of a checkpoint's networks, by network and name."""
    from safetensors.torch import load_file

    files = [path for path in checkpoint.glob("*/*.safetensors")]
    return {f"{path.parent.name}.{name}": tensor for path in files for name, tensor in load_file(path).items()}


def plan_of(lab: Lab, **parameters: Any) -> Any:
    from flows.plan import plan

    return plan("retrain", str(lab.work), "debug", [], RUNTIME, **parameters)


def test_the_plan_of_a_finished_run_finds_everything_done_and_changes_nothing(lab: Lab, first: tuple[Any, Any]) -> None:
    from tasks.workspace.planned import plan_lines

    before = {path: path.stat().st_mtime_ns for path in lab.work.rglob("*") if path.is_file()}
    found = plan_of(lab)
    assert [plan.stage.name for plan in found.plans] == list(stages(first[1]))
    assert all(plan.to_do == () and plan.known and plan.cached == plan.items for plan in found.plans)
    assert list(plan_lines(found))[-1] == "Everything is done: a run would find every stage cached."
    assert {path: path.stat().st_mtime_ns for path in lab.work.rglob("*") if path.is_file()} == before


def test_the_plan_names_what_is_missing_and_estimates_from_what_was_done(
    lab: Lab, first: tuple[Any, Any], sample_clips: list[Path], tmp_path: Path
) -> None:
    from tasks.workspace.planned import plan_lines
    from tasks.workspace.sources import Root

    (tmp_path / "more").mkdir()
    write_video(tmp_path / "more" / "shorter.mp4", read_frames(sample_clips[0])[:24], 25.0)
    found = plan_of(lab, more=[Root(str(tmp_path / "more"))])
    plans = {plan.stage.name: plan for plan in found.plans}
    assert plans["clips"].to_do == ("shorter",) and plans["clips"].seconds(2) > 0
    assert plans["landmarks"].to_do == () and plans["landmarks"].work == 1, "it waits for the new source"
    assert not plans["train_stage1"].known and plans["train_stage1"].work == 1
    text = "\n".join(plan_lines(found))
    assert "1 waiting" in text and "To do first: clips of shorter." in text


def test_one_stage_of_one_clip_gives_again_what_is_stored(lab: Lab, first: tuple[Any, Any], tmp_path: Path) -> None:
    from flows.plan import locate
    from tasks.jobs.replay import choose_item, replay
    from tasks.results.overlay import overlay

    runtime = RUNTIME.model_copy(update={"workers": 0})
    for name in ("clips", "landmarks", "latents"):
        run, located = locate(name, str(lab.work), "debug", [], runtime)
        item = choose_item(located.items, located.items[0].id)
        (out := tmp_path / name).mkdir()
        again = replay(run.store, located.stage, located.settings, item, runtime, run.landmarker, out)
        assert again.stored is not None and again.differences == []
        assert overlay(name, again.item.files, out).size[0] > 64
    with pytest.raises(ValueError, match=r"landmarks of .* is not done .* run fye retrain"):
        locate("train_stage1", str(lab.work), "debug", ["landmarks.expression_radius=0.05"], runtime)


def test_a_deleted_clip_output_is_redone_and_nothing_else(lab: Lab, first: tuple[Any, Any]) -> None:
    victim = sorted((lab.work / "items" / "landmarks").glob("*/landmarks.parquet"))[0]
    before = victim.read_bytes()
    victim.unlink()
    _, summary = lab.retrain()
    assert victim.read_bytes() == before
    redone = {name: stage["computed"] for name, stage in stages(summary).items() if stage["state"] != "Cached"}
    assert redone == {"landmarks": 1}


def test_a_part_of_a_run_stops_where_it_should_and_makes_again_what_it_should(
    lab: Lab, first: tuple[Any, dict[str, Any]]
) -> None:
    from flows.refresh import refresh

    _, summary = lab.run(refresh, steps=Steps(until="landmarks", force=("clips",), limit=1))
    done = stages(summary)
    assert summary["flow"] == "refresh, until landmarks, 1 video" and list(done) == ["clips", "landmarks"]
    assert [(stage["items"], stage["computed"]) for stage in done.values()] == [(1, 1), (1, 0)]
    (plan,) = (plan for plan in plan_of(lab, steps=Steps(force=("landmarks",))).plans if plan.stage.name == "landmarks")
    assert len(plan.to_do) == plan.items == 2
    assert [plan.stage.name for plan in plan_of(lab, steps=Steps(until="clips")).plans] == ["clips"]
    overrides = ["landmarks.expression_radius=0.05"]
    state = refresh(
        work=str(lab.work),
        recipe="debug",
        overrides=overrides,
        runtime=RUNTIME,
        steps=Steps(only="screening"),
        return_state=True,
    )
    with pytest.raises(ValueError, match=r"landmarks before it is not done \(2 items"):
        state.result()


def test_a_captured_subject_joins_without_recomputing_the_rest(
    lab: Lab, first: tuple[Any, Any], tmp_path: Path
) -> None:
    from flows.capture import capture

    # backwards it is another motion: a copy of a clip that is there would not be kept
    (tmp_path / "shorter").mkdir()
    talking = sorted(lab.videos.glob("astronaut-*.mp4"))[0]
    write_video(tmp_path / "shorter" / "talking.mp4", read_frames(talking)[31::-1], 25.0)
    _, summary = lab.run(capture, folder=str(tmp_path / "shorter"), subject="anna")
    done = stages(summary)
    assert done["landmarks"]["items"] == 3
    assert (done["clips"]["computed"], done["landmarks"]["computed"]) == (1, 1)
    (added,) = summary["data"]["added"]
    assert added.startswith("anna-") and summary["data"]["subjects"] == 3


def test_the_selected_model_evaluates_and_animates_elsewhere(lab: Lab, first: tuple[Any, Any], tmp_path: Path) -> None:
    from flows.animate import animate
    from flows.evaluate import evaluate

    (lab.videos / "not-a-video.mp4").unlink()
    state = evaluate(
        model=str(lab.work / "model"),
        videos=str(lab.videos),
        work=str(tmp_path / "evaluation"),
        recipe="debug",
        runtime=RUNTIME,
        return_state=True,
    )
    assert state.is_completed(), state
    assert json.loads((tmp_path / "evaluation" / "summary.json").read_text())["metrics"]["l1"] > 0

    from skimage import data
    from skimage.io import imsave

    imsave(tmp_path / "portrait.png", data.astronaut())
    driving = sorted(lab.videos.glob("*.mp4"))[0]
    output = tmp_path / "out.mp4"
    done = animate(
        portrait=str(tmp_path / "portrait.png"),
        driving=str(driving),
        model=str(lab.work / "model"),
        output=str(output),
        sampling={"steps": 1},
        runtime=RUNTIME,
        return_state=True,
    )
    assert done.is_completed(), done
    assert (probe(output).frames, probe(output).fps) == (probe(driving).frames, probe(driving).fps)
