"""The report stands alone, says what the numbers say, shows what was lost, and never runs what came from a name."""

from __future__ import annotations

import copy
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.cross import CROSS_METRICS
from fye_model.evaluation.reenact import Reenactment
from fye_model.evaluation.scores import score
from fye_model.evaluation.table import BY_NAME, METRICS
from fye_model.evaluation.windows import motion
from fye_model.files import write_json
from tasks.engine.items import NOTHING
from tasks.media.write import write_video
from tasks.report import REPORT, Previous, ReportFacts, funnel, report_item, write_report
from tasks.results.cross_tables import CrossRecord, summarise_cross
from tasks.results.made import Made, made_here
from tasks.results.pictures import save_png, side_by_side, strip
from tasks.results.records import ClipRecord
from tasks.results.tables import summarise
from tasks.workspace.licences import Licence
from tasks.workspace.summary import DataSummary, FunnelStep, QuarantineRow, StageLine
from tests.browser import PHONE, WIDE, complaints, open_browser, sideways_px, wait_for
from tests.fye_model.evaluation.moving_face import face, track
from tests.tasks.support import work_on

EVIL = "<script>alert(1)</script>"
TERMS = {"max_frames": 4, "evaluated_size": 32, "landmark_model": "test-model", "sampling": {"steps": 3}}
MADE = Made(
    when="2026-01-02T03:04:05+00:00",
    software="follow-your-emoji 9",
    commit="0123abcd",
    packages="torch 9",
    machine="Linux",
    device="cpu",
)

PREVIOUS = Previous(
    finished="2025-12-31T23:59:59+00:00",
    recipe=f"old{EVIL}",
    checkpoint="stage 2/checkpoint-000050",
    changed=("train.stage1.steps: 50, now 100",),
)


def _record(folder: Path, name: str, noise: float) -> ClipRecord:
    """A clip's record from real pictures: a result that is the truth with noise, and a reference that stands still."""
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    result = np.clip(truth + rng.normal(0, noise, truth.shape), 0, 255).astype(np.uint8)
    pair = Reenactment(truth[0], truth, truth, result)
    save_png(strip(pair, [0, 3]), folder / f"strips/{name}.png")
    (folder / "videos").mkdir(exist_ok=True)
    write_video(folder / f"videos/{name}.mp4", side_by_side(pair), 25.0)
    points = [face(opening) for opening in (0.0, 0.6, 1.2, 0.5)]
    theirs = Truth(truth, track(list(points)))
    found = [None, *(point + rng.normal(0, noise * 1e-5, point.shape) for point in points[1:])]
    still = Comparison(theirs, pair.baseline(), track([points[0]] * 4))
    return ClipRecord(
        clip=name,
        name=f"{name}{EVIL}",
        subject=name,
        span=(0, 5),
        reference=0,
        trained_on=name == "good",
        not_driven=1,
        motion=motion(theirs.signals),
        scores={"model": score(Comparison(theirs, result, track(found))), "baseline": score(still)},
        truth_signals={signal: tuple(values) for signal, values in theirs.signals.items()},
        video=f"videos/{name}.mp4",
        strip=f"strips/{name}.png",
    )


def _cross_record(folder: Path, record: ClipRecord) -> CrossRecord:
    """The same clip's picture moved by itself: scores of cross reenactment from real pictures."""
    pictures = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    faces = track([face(opening) for opening in (0.0, 0.6, 1.2, 0.5)])
    theirs = Truth(pictures, faces)
    moved = track([None, *(face(opening) for opening in (0.5, 1.0, 0.4))])
    scores = {
        "model": score(Comparison(theirs, pictures, moved, pictures[0], faces.repeated(1)), CROSS_METRICS),
        "baseline": score(
            Comparison(theirs, pictures, faces.repeated(4), pictures[0], faces.repeated(1)), CROSS_METRICS
        ),
    }
    words = (f"{record.clip}--x", f"{record.name} performs x", record.clip, "x")
    places = {"video": record.video, "strip": record.strip}
    facts = {"subjects": (record.clip, "x"), "span": (0, 5), "reference": 0, "aligned": False, "not_driven": 0}
    return CrossRecord(*words, **facts, motion=record.motion, scores=scores, **places)


@pytest.fixture(scope="module")
def ingredients(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("evaluation")
    records = [_record(folder, name, noise) for name, noise in (("good", 5), ("bad", 60), ("middle", 20))]
    _write_records(folder, records)
    crossed = [_cross_record(folder, record) for record in records[:2]]
    for record in crossed:
        write_json(folder / "cross" / "records" / f"{Path(record.video).stem}.json", record.to_json())
    cross = summarise_cross(crossed, None)
    evaluation = {**summarise(records, TERMS), "cross": cross}
    base = {metric.name: evaluation["baseline"][metric.name]["mean"] for metric in METRICS}
    base |= {"frames": 8, "no_face_in_result": 0, "intervals": {"l1": [0.1, 0.3]}}
    better = {"l1": 0.05, "ssim": 0.99, "expression_error": 0.001, "expression_correlation": 0.9}
    rows = [
        {**base, **values, "checkpoint": f"stage 2/checkpoint-{step:06d}", "step": step, "loss": loss, "score": score}
        | {"rank": rank}
        for step, loss, values, score, rank in ((50, 0.4, {"l1": 0.2}, 2.0, 2), (100, 0.3, better, 1.0, 1))
    ]
    first = {"checkpoint": "stage 1/checkpoint-000010", "step": 10, "l1": 0.31, "expression_error": 1.0}
    selection = {
        "rule": "lowest score",
        "protocol": {"clips": 2, "max_frames": 4},
        "rows": rows,
        "winner": rows[1]["checkpoint"],
        "first": {**base, **first},
        "baseline": base,
        "beats_baseline": dict.fromkeys(BY_NAME, True),
        "beats_first": dict.fromkeys(BY_NAME, True),
        "note": "chosen on these clips",
    }
    curve = folder / "metrics.jsonl"
    steps = [{"step": i, "loss": 1 / i, "loss_diffusion": 0.5 / i, "lr": 1e-3} for i in range(1, 40)]
    curve.write_text("".join(json.dumps(step) + "\n" for step in [*steps, {"step": 39, "val_loss": 0.2}]))
    stages = (
        StageLine(stage="ingest", items=4, done=2, quarantined=2),
        StageLine(stage="clips", items=2, done=2, quarantined=0),
        StageLine(stage="train_stage1", items=1, done=1, quarantined=0),
    )
    told = (
        ("scan", "twin", "duplicate", "the same bytes as other"),
        ("ingest", EVIL, "zero_bytes", f"{EVIL} is empty"),
        ("ingest", "cut", "truncated", "its index is missing"),
    )
    quarantine = tuple(
        QuarantineRow(stage=stage, item="0", name=name, reason=reason, message=message)
        for stage, name, reason, message in told
    )
    screening = (
        FunnelStep(rule="all clips", lost=0, clips=2, frames=90),
        FunnelStep(rule="sharpness", lost=1, clips=1, frames=40),
    )
    rejected = {f"blurred{EVIL}": ("too soft",)}
    facts = ReportFacts(
        flow="retrain",
        recipe=EVIL,
        landmark_model="test-model",
        status="Completed",
        stages=stages,
        data=DataSummary(clips=2, kept=1, subjects=1, rejected=rejected, funnel=screening),
        quarantine=quarantine,
        settings=f"name: {EVIL}\ntrain: {{steps: 100}}\n",
        licences=(Licence(what=f"2 videos {EVIL}", licence="CC0", source="own"),),
    )
    return {
        "facts": facts,
        "evaluation": evaluation,
        "selection": selection,
        "curves": {f"Stage 1 {EVIL}": curve},
        "evaluation_dir": folder,
        "made": MADE,
    }


def _write_records(folder: Path, records: list[ClipRecord]) -> None:
    """The clips' records, as an evaluation leaves them for later comparisons."""
    for record in records:
        write_json(folder / "records" / f"{record.clip}.json", {**record.to_json(), "schema": 2, "key": "k"})


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluation of an earlier run on the same clips, which was worse."""
    folder = tmp_path_factory.mktemp("before")
    records = [_record(folder, name, noise) for name, noise in (("good", 50), ("bad", 90), ("middle", 80))]
    _write_records(folder, records)
    crossed = summarise_cross([], "left out: nobody else")
    write_json(folder / "metrics.json", {**summarise(records, TERMS), "cross": crossed})
    return folder


class Page(HTMLParser):
    """Tags, sources and visible text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.texts))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "poster", "srcset")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def report(ingredients: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report, which takes seconds to draw."""
    out = tmp_path_factory.mktemp("report")
    path = write_report(out_dir=out, **ingredients)
    assert [file.name for file in out.iterdir()] == ["report.html"]
    return path


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page(report.read_text())


def test_everything_is_inside_the_one_file(page: Page) -> None:
    assert page.addresses and all(address.startswith("data:") for address in page.addresses)
    assert page.tags.count("video") == 3 + 2
    assert not {"link", "script", "iframe", "object"} & set(page.tags)


def test_names_and_messages_are_shown_and_never_run(page: Page) -> None:
    assert "script" not in page.tags
    for place in (f"recipe {EVIL}", f"{EVIL} is empty", f"good{EVIL}", f"blurred{EVIL}"):
        assert place in page.text


def test_what_ran_what_was_lost_and_what_was_measured_is_there(page: Page) -> None:
    for fact in ("test-model", "train_stage1", "duplicate", "truncated", "its index is missing", "sharpness"):
        assert fact in page.text
    for metric in METRICS:
        if metric.reads == "networks":
            assert f"{metric.name} missing: {metric.reason}" in page.text
    assert "3 of 12 result frames have no face" in page.text
    assert "stage 1/checkpoint-000010 (first)" in page.text
    for name, text in MADE.lines():
        assert f"{name} {text}" in page.text
    assert f"2 videos {EVIL} CC0 own" in page.text and "train: {steps: 100}" in page.text


def test_cross_reenactment_has_its_table_its_pictures_and_what_is_missing(page: Page) -> None:
    assert "2 pairs of 3 people" in page.text and f"good{EVIL} performs x" in page.text
    assert "In 2 of the pairs the motion could not be laid onto" in page.text
    assert "Expression error, as change, IOD" in page.text and "arcface missing:" in page.text
    assert "On 2 pairs of 3 people, driven by somebody else, the expression" in page.text


def test_where_one_person_only_is_held_out_the_report_says_so(ingredients: dict[str, Any], tmp_path: Path) -> None:
    changed = copy.deepcopy(ingredients)
    changed["evaluation"]["cross"] = summarise_cross([], "left out: only one person (anna) is held out")
    text = Page(write_report(out_dir=tmp_path, **changed).read_text()).text
    assert text.count("Cross reenactment left out: only one person (anna) is held out.") == 2


def test_the_verdict_follows_the_numbers(ingredients: dict[str, Any], page: Page) -> None:
    evaluation = ingredients["evaluation"]
    l1, base = evaluation["model"]["l1"]["mean"], evaluation["baseline"]["l1"]["mean"]
    assert evaluation["difference"]["l1"]["outcome"] == "better"
    assert f"Yes. On held-out frames the model beats repeating the reference in L1: {l1:.4f} against {base:.4f}" in (
        page.text
    )
    assert "checkpoint-000100 beats the first checkpoint stage 1/checkpoint-000010 in L1: 0.0500 against 0.31" in (
        page.text
    )
    assert "Measured on 3 held-out clips" in page.text
    assert "same people (3), later frames: training saw earlier frames of 1 of 3 clips" in page.text
    assert "identity was not measured" in page.text
    assert "loses to the repeated reference" not in page.text


def test_a_model_that_lost_is_said_to_have_lost(ingredients: dict[str, Any], tmp_path: Path) -> None:
    changed = copy.deepcopy(ingredients)
    evaluation = changed["evaluation"]
    evaluation["model"], evaluation["baseline"] = evaluation["baseline"], evaluation["model"]
    for cell in evaluation["difference"].values():
        cell["outcome"] = {"better": "worse"}.get(cell["outcome"], cell["outcome"])
    changed["selection"]["beats_first"] = dict.fromkeys(BY_NAME, False)
    changed["selection"]["beats_baseline"] = dict.fromkeys(BY_NAME, False)
    text = Page(write_report(out_dir=tmp_path, **changed).read_text()).text
    assert "No. On held-out frames the model does not beat repeating the reference in L1" in text
    assert "does not beat the first checkpoint" in text
    assert "the selected checkpoint loses to the repeated reference in L1 and SSIM and Expression error" in text
    assert "Better." not in text and "Yes." not in text


def test_the_same_inputs_give_the_same_bytes(ingredients: dict[str, Any], report: Path, tmp_path: Path) -> None:
    assert write_report(out_dir=tmp_path, **ingredients).read_bytes() == report.read_bytes()


def test_a_large_video_lies_beside_the_report(
    ingredients: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.results.report_pictures.INLINE_VIDEO_BYTES", 100)
    page = Page(write_report(out_dir=tmp_path, **ingredients).read_text())
    beside = [address for address in page.addresses if not address.startswith("data:")]
    worst_first = ["videos/bad.mp4", "videos/middle.mp4", "videos/good.mp4"]
    assert beside[:3] == worst_first and len(beside) == 5
    assert all((tmp_path / address).stat().st_size > 100 for address in beside)


def test_the_stage_writes_the_same_report_and_says_when_where_and_by_what(
    ingredients: dict[str, Any], before: Path, report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ingredients["evaluation_dir"]
    (folder / "metrics.json").write_text(json.dumps(ingredients["evaluation"]))
    (tmp_path / "selection.json").write_text(json.dumps(ingredients["selection"]))
    files = {"evaluation/metrics.json": folder / "metrics.json", "selection.json": tmp_path / "selection.json"}
    files |= {f"curves/{title}": path for title, path in ingredients["curves"].items()}
    files |= {f"evaluation/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("records/*")}
    files |= {f"previous/{path.relative_to(before).as_posix()}": path for path in before.rglob("*.json")}
    (tmp_path / "out").mkdir()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767323045")
    facts = ingredients["facts"].model_copy(update={"previous": PREVIOUS})
    row = work_on(REPORT, NOTHING, files, facts, tmp_path / "out")
    told = {**ingredients, "facts": facts, "made": made_here(), "previous_dir": before}
    expected = write_report(out_dir=tmp_path, **told).read_bytes()
    assert (tmp_path / "out" / row.report).read_bytes() == expected != report.read_bytes()
    assert b"2026-01-02T03:04:05+00:00" in expected


def test_funnel_counts_what_entered_and_left_each_stage(ingredients: dict[str, Any]) -> None:
    steps = funnel(ingredients["facts"].stages, ingredients["facts"].quarantine)
    assert [(step.stage, step.entered, step.left) for step in steps] == [
        ("scan", 5, 4),
        ("ingest", 4, 2),
        ("clips", 2, 2),
    ]
    assert dict(steps[1].reasons) == {"zero_bytes": 1, "truncated": 1}


def test_a_newly_rejected_clip_and_a_newly_quarantined_file_change_the_reports_key(
    ingredients: dict[str, Any],
) -> None:
    """A report that was keyed without them was shown as up to date with an old table of what was lost."""
    facts: ReportFacts = ingredients["facts"]
    told = QuarantineRow(stage="ingest", item="1", name="new", reason="truncated", message="its index is missing")
    later = [
        facts,
        facts.model_copy(update={"data": facts.data.model_copy(update={"rejected": {"other": ("too soft",)}})}),
        facts.model_copy(update={"quarantine": (*facts.quarantine, told)}),
        facts.model_copy(update={"stages": facts.stages[:-1]}),
        facts.model_copy(update={"settings": "name: other"}),
    ]
    keys = [REPORT.key({}, None, report_item(each, {})) for each in later]
    assert len(set(keys)) == len(later)
    assert REPORT.key({}, None, report_item(facts.model_copy(), {})) == keys[0]


def test_every_clip_has_a_row_and_the_worst_is_the_first(ingredients: dict[str, Any], page: Page) -> None:
    _, _, table = page.text.partition("Clip by clip, worst first")
    places = [table.index(f"{name}{EVIL} moves by") for name in ("bad", "middle", "good")]
    assert places == sorted(places)
    good = next(clip for clip in ingredients["evaluation"]["clips"] if clip["clip"] == "good")
    row = table[places[2] :][:250]
    for name in ("l1", "ssim", "landmark_error", "expression_error"):
        assert f"{good['model'][name]:.4f} {good['baseline'][name]:.4f}" in row
    assert "training saw other frames of it" in row and "1 of 4" in row


def test_signals_are_one_table_and_each_metric_is_there_with_its_difference(
    ingredients: dict[str, Any], page: Page
) -> None:
    evaluation = ingredients["evaluation"]
    r, slope, error = (
        f"{evaluation['model'][f'expression.mouth_opening.{kind}']['mean']:.4f} "
        f"{evaluation['baseline'][f'expression.mouth_opening.{kind}']['mean']:.4f}"
        for kind in ("correlation", "slope", "error")
    )
    assert f"Signal correlation slope error mouth opening {r} {slope} {error}" in page.text
    for metric in METRICS:
        if evaluation["model"][metric.name]["mean"] is not None:
            assert metric.label in page.text, metric.name
    low, high = evaluation["difference"]["expression.mouth_opening.error"]["ci95"]
    assert f"[{low:.4f}, {high:.4f}]" in page.text


def test_clips_at_rest_are_a_stratum_with_intervals(ingredients: dict[str, Any], tmp_path: Path) -> None:
    changed = copy.deepcopy(ingredients)
    evaluation = changed["evaluation"]
    evaluation["strata"] = {
        name: {"clips": 2, **{part: evaluation[part] for part in ("model", "baseline", "difference")}}
        for name in ("moving", "at rest")
    }
    text = Page(write_report(out_dir=tmp_path, **changed).read_text()).text
    low, high = evaluation["model"]["l1"]["ci95"]
    shown = f"at rest (2 clips) L1 {evaluation['model']['l1']['mean']:.4f} [{low:.4f}, {high:.4f}]"
    assert shown in text


def test_where_the_selection_measured_otherwise_the_report_says_why_its_numbers_differ(
    ingredients: dict[str, Any], page: Page, tmp_path: Path
) -> None:
    assert "measured otherwise: clips: 2 here, 3 in the evaluation." in page.text
    changed = copy.deepcopy(ingredients)
    changed["selection"]["protocol"]["clips"] = 3
    assert "measured otherwise" not in Page(write_report(out_dir=tmp_path, **changed).read_text()).text


def test_clips_beyond_the_first_are_shown_by_videos_beside_the_report(
    ingredients: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.results.report_pictures.MOST_IN_FULL", 1)
    page = Page(write_report(out_dir=tmp_path, **ingredients).read_text())
    beside = [address for address in page.addresses if not address.startswith("data:")]
    assert beside[:2] == ["videos/middle.mp4", "videos/good.mp4"] and page.tags.count("video") == 5
    assert all((tmp_path / address).is_file() for address in beside)
    assert "The others, by their videos alone" in page.text


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_in_a_browser_nothing_scrolls_sideways_but_tables_and_videos_play_in_a_loop(
    size: tuple[int, int], report: Path, tmp_path: Path
) -> None:
    with open_browser(size, tmp_path / "profile", tmp_path) as browser:
        browser.get(report.as_uri())
        browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
        assert sideways_px(browser) == 0
        outside = """
            const width = document.documentElement.clientWidth;
            return [...document.querySelectorAll('main *')]
              .filter((each) => !each.closest('.scroll') && each.getBoundingClientRect().right > width + 1)
              .map((each) => `${each.tagName} ${each.className}`)"""
        assert browser.execute_script(outside) == []
        broken = "return [...document.images].filter((each) => !each.naturalWidth).map((each) => each.alt)"
        assert wait_for(lambda: browser.execute_script("return [...document.images].every((one) => one.complete)"))
        assert browser.execute_script(broken) == []
        browser.execute_script(
            "const video = document.querySelector('video'); video.scrollIntoView({block: 'center'}); window.rounds = 0;"
            "video.addEventListener('seeked', () => { window.rounds += 1; })"
        )
        wait_for(lambda: browser.execute_script("return window.rounds > 1"))
        assert complaints(browser) == []


def test_the_run_before_is_compared_clip_by_clip_and_what_changed_is_told(
    ingredients: dict[str, Any], before: Path, tmp_path: Path
) -> None:
    folder = ingredients["evaluation_dir"]
    write_json(folder / "metrics.json", ingredients["evaluation"])
    facts = ingredients["facts"].model_copy(update={"previous": PREVIOUS})
    told = {**ingredients, "facts": facts}
    text = Page(write_report(out_dir=tmp_path, **told, previous_dir=before).read_text()).text
    assert f"recipe old{EVIL}, finished 2025-12-31T23:59:59+00:00" in text
    assert "train.stage1.steps: 50, now 100" in text
    assert "On 3 clips, too few to know how it is elsewhere" in text and "the picture is better than B's" in text
    theirs = json.loads((before / "metrics.json").read_text())["model"]["ssim"]["mean"]
    ours = ingredients["evaluation"]["model"]["ssim"]["mean"]
    _, _, section = text.partition("Against the run before")
    assert re.search(
        rf"SSIM higher is better {ours:.4f} \[\S+ \S+\] {theirs:.4f} \[\S+ \S+\] \S+ \[\S+ \S+\] better", section
    )


def test_a_run_before_that_was_measured_otherwise_or_is_gone_is_said_to_be_not_compared(
    ingredients: dict[str, Any], before: Path, page: Page, tmp_path: Path
) -> None:
    assert "No earlier run of this work folder came to other numbers." in page.text
    write_json(ingredients["evaluation_dir"] / "metrics.json", ingredients["evaluation"])
    told = {**ingredients, "facts": ingredients["facts"].model_copy(update={"previous": PREVIOUS})}
    text = Page(write_report(out_dir=tmp_path, **told).read_text()).text
    assert "Its evaluation is no longer in the store, so nothing is compared." in text
    other = json.loads((before / "metrics.json").read_text())
    other["protocol"]["max_frames"] = 9
    shutil.copytree(before / "records", tmp_path / "other" / "records")
    write_json(tmp_path / "other" / "metrics.json", other)
    text = Page(write_report(out_dir=tmp_path, **told, previous_dir=tmp_path / "other").read_text()).text
    assert "this run (A) and the previous run (B) were not measured alike, so nothing is compared" in text
    assert "max_frames: A has 4, B has 9" in text and str(tmp_path) not in text
