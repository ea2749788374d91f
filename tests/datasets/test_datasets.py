"""What the cards and the schema say is what the code writes and the paper counts."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from fye_model.config import EvaluationConfig, Recipe, Runtime, SplitConfig
from fye_model.evaluation.signals import EXPRESSION, POSE
from fye_model.evaluation.table import METRICS
from fye_model.landmarks.table import LandmarkSequence, write_landmarks, write_masks
from tasks.clips import _write_frames
from tasks.engine.store import Store
from tasks.faces.landmarker import LandmarkerAsset
from tasks.footage.card import Card, card_names, load_card
from tasks.results.tables import write_results
from tasks.samples.clips import make_samples
from tasks.workspace.changes import note_sources
from tasks.workspace.recipes import load_recipe
from tasks.workspace.run import Run, write_summary
from tasks.workspace.summary import Results

DATASETS = Path(__file__).resolve().parents[2] / "datasets"
SOURCES = card_names()


def _source(name: str) -> Card:
    return load_card(name)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return yaml.safe_load((DATASETS / "schema.yaml").read_text())


def _columns(path: Path) -> dict[str, str]:
    return {field.name: str(field.type) for field in pq.read_schema(path)}


def _documented(entry: dict[str, Any], without: tuple[str, ...] = (), **sizes: int) -> dict[str, str]:
    columns = {name: column["type"] for name, column in entry["columns"].items() if name not in without}
    if sizes:
        cells = str(sizes["height"] * sizes["width"])
        columns = {name: kind.replace("height * width", cells) for name, kind in columns.items()}
    return columns


def test_there_is_no_python_among_the_data_sets() -> None:
    assert not list(DATASETS.rglob("*.py"))


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_read_by_code_and_its_words_say_its_numbers(name: str) -> None:
    card, words = load_card(name), (DATASETS / name / "README.md").read_text()
    assert card.name == name
    assert "licence" in words.lower() or "public domain" in words
    for what, count in card.counts.model_dump(exclude_none=True).items():
        assert f"{count:g}" in words or f"{count:,g}" in words, f"the words of {name} do not say {count} {what}"


def test_the_overview_names_the_sources_of_the_paper() -> None:
    overview = (DATASETS / "README.md").read_text()
    linked = set(re.findall(r"\]\((\w+)/README\.md\)", overview))
    assert {"captured", "emojibench", "folder", "hdtf", "vfhq"} <= linked <= {*SOURCES, "emojibench"}


def test_the_eighteen_expressions_are_eighteen() -> None:
    names = _source("captured").take_names
    assert len(names) == len(set(names)) == _source("captured").counts.expressions == 18


def test_rules_for_held_out_clips_are_the_recipes_own() -> None:
    paper, demo = SplitConfig(), load_recipe("demo").split
    for name in ("hdtf", "vfhq", "captured"):
        rule = _source(name).held_out
        assert (rule.by, rule.fraction, rule.seed) == (paper.by, paper.holdout, paper.seed)
    assert (_source("samples").held_out.by, _source("samples").held_out.fraction) == (demo.by, demo.holdout)


def test_the_benchmarks_protocol_is_the_evaluations_default() -> None:
    head = (DATASETS / "emojibench" / "README.md").read_text().split("---\n")[1]
    assert yaml.safe_load(head)["protocol"] == EvaluationConfig().model_dump(include={"frames", "size"})


def test_sample_counts_are_the_commands_defaults() -> None:
    defaults = {name: value.default for name, value in inspect.signature(make_samples).parameters.items()}
    counts = _source("samples").counts
    assert (counts.clips, counts.seconds_per_clip) == (defaults["clips"], defaults["seconds"])


def test_landmark_and_mask_tables_are_as_described(schema: dict[str, Any], tmp_path: Path) -> None:
    yes = np.ones(2, bool)
    sequence = LandmarkSequence(
        points=np.zeros((2, 478, 3), np.float32),
        matrix=np.zeros((2, 4, 4), np.float32),
        blendshapes=np.zeros((2, 52), np.float32),
        valid=yes,
        interpolated=yes,
        time_s=np.zeros(2),
        fps=25.0,
        width=8,
        height=8,
        model="test",
    )
    write_landmarks(sequence, tmp_path / "landmarks.parquet", {"geometry": "test"})
    write_masks(tmp_path / "masks.parquet", np.zeros((2, 3, 4)), np.zeros((2, 3, 4)))
    for name, sizes in (("landmarks.parquet", {}), ("masks.parquet", {"height": 3, "width": 4})):
        entry = schema[name]
        assert _columns(tmp_path / name) == _documented(entry, **sizes)
        metadata = {key.decode(): value.decode() for key, value in pq.read_schema(tmp_path / name).metadata.items()}
        assert set(metadata) == set(entry["metadata"])
        assert metadata["schema_version"] == entry["schema_version"]


def test_frame_tables_are_as_described(schema: dict[str, Any], tmp_path: Path) -> None:
    entry = schema["frames.parquet"]
    written = tmp_path / "frames.parquet"
    _write_frames([0.0, 0.04, 0.08, 0.08, 0.16], 1, 4, written)
    assert _columns(written) == _documented(entry)
    assert pq.read_table(written).to_pydict() == {
        "time_s": [0.04, 0.08, 0.08],
        "held": [False, False, True],
        "source_frame": [1, 2, 3],
    }
    assert {key.decode() for key in pq.read_schema(written).metadata} == set(entry["metadata"])


def test_a_runs_tables_are_as_described(schema: dict[str, Any], tmp_path: Path) -> None:
    asset = LandmarkerAsset(tmp_path, "test", "0", True, "test")
    write_summary(Run(Store(tmp_path), Recipe(), Runtime(), asset), "test", Results())
    note_sources(Store(tmp_path), [])
    for name in ("manifest.parquet", "quarantine.parquet", "sources.parquet"):
        assert _columns(tmp_path / name) == _documented(schema[name])
        assert pq.read_schema(tmp_path / name).metadata[b"schema_version"].decode() == schema[name]["schema_version"]


def test_the_evaluations_table_is_as_described(schema: dict[str, Any], tmp_path: Path) -> None:
    write_results([], tmp_path / "results.parquet")
    entry = schema["results.parquet"]
    documented = _documented(entry)
    families = {
        "<metric>": [metric.column for metric in METRICS],
        "frame_<metric>": [f"frame_{metric.column}" for metric in METRICS if metric.frames is not None],
        "signal_<signal>": [f"signal_{signal.name}" for signal in (*EXPRESSION, *POSE)],
        "truth_<signal>": [f"truth_{signal.name}" for signal in (*EXPRESSION, *POSE)],
    }
    for family, names in families.items():
        documented |= dict.fromkeys(names, documented.pop(family))
    assert _columns(tmp_path / "results.parquet") == documented
    metadata = pq.read_schema(tmp_path / "results.parquet").metadata
    assert metadata[b"schema_version"].decode() == entry["schema_version"]
