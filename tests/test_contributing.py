"""The how-tos of CONTRIBUTING.md, followed word for word in a copy of the tree, do what they promise and stay cheap."""

from __future__ import annotations

from pathlib import Path

import pytest

from fye_model.config import FootageConfig, Recipe
from tasks.clips import clip_items
from tasks.engine.store import Store
from tasks.footage.card import load_card
from tasks.media.shown import ShownVideo
from tasks.media.span import show_settings
from tasks.samples.clips import make_samples
from tasks.workspace.recipes import dump_recipe, load_recipe
from tasks.workspace.sources import Root, scan
from tests.documents import Block, apply, blocks, copy_tree, python_in

DOCUMENT = "CONTRIBUTING.md"


def changes(heading: str) -> list[Block]:
    """The blocks under a heading that make or change a file of the project."""
    return [block for block in blocks(DOCUMENT, heading) if block.path is not None and block.path != "short.yaml"]


def follow(heading: str, tree: Path) -> set[str]:
    """Apply a how-to to a copy of the tree; returns the files that it takes."""
    copy_tree(tree)
    return {apply(block, tree) for block in changes(heading)}


@pytest.mark.slow
def test_a_stage_takes_three_files_fits_the_plan_and_works_on_a_clip(tmp_path: Path) -> None:
    assert len(follow("Add a stage", tmp_path)) == 3
    code = """
    import json, tempfile
    from pathlib import Path
    import numpy as np
    from fye_model.landmarks.table import LandmarkSequence, write_landmarks
    from tasks.engine.items import NOTHING, Quarantine
    from tasks.plan import STAGES, stage_named, stage_table, wiring_problems
    from tests.tasks.support import work_on
    from tests.test_architecture import stages_run_by_flows

    assert wiring_problems() == []
    assert stages_run_by_flows() == {stage.name for stage in STAGES}
    assert "| `presence` | landmark table | presence of the face |" in stage_table()

    def clip(folder, valid):
        count = len(valid)
        points = np.where(valid[:, None, None], 0.5, np.nan) * np.ones((count, 478, 3))
        table = LandmarkSequence(
            points=points.astype(np.float32), matrix=None, blendshapes=None, valid=valid,
            interpolated=np.zeros(count, bool), time_s=np.arange(count) / 25, fps=25.0, width=8, height=8, model="test",
        )
        write_landmarks(table, folder / "landmarks.parquet", {})
        (folder / "out").mkdir()
        return work_on(
            stage_named("presence"), NOTHING, {"landmarks": folder / "landmarks.parquet"}, NOTHING, folder / "out"
        )

    with tempfile.TemporaryDirectory() as place:
        row = clip(Path(place), np.array([True, False, True]))
        assert (row.frames, row.with_face) == (3, 2)
        assert json.loads((Path(place) / "out" / "presence.json").read_text()) == row.model_dump()
    with tempfile.TemporaryDirectory() as place:
        try:
            clip(Path(place), np.zeros(3, bool))
        except Quarantine as bad:
            print(bad.reason)
    """
    assert python_in(tmp_path, code) == "no_face\n"


@pytest.mark.slow
def test_a_metric_takes_two_files_and_is_in_every_table(tmp_path: Path) -> None:
    assert len(follow("Add a metric", tmp_path)) == 2
    code = """
    import tempfile
    from pathlib import Path
    import numpy as np
    import pyarrow.parquet as pq
    from fye_model.config import Recipe
    from fye_model.evaluation.compare import Comparison, Truth
    from fye_model.evaluation.scores import score
    from fye_model.evaluation.table import protocol_texts
    from tasks.plan import stage_named
    from tasks.results.tables import nested_means, summarise, write_results
    from tests.fye_model.evaluation.moving_face import face, track
    from tests.tasks.report.made import clip_record

    frames = np.full((2, 32, 32, 3), 100, np.uint8)
    faces = track([face(), face(mouth=0.5)], 32)
    truth = Truth(frames, faces)
    for by, expected in ((0, 0.0), (51, 0.2)):
        values = score(Comparison(truth, frames + np.uint8(by), faces)).summary()
        assert np.isclose(values["colour_shift"], expected)

    with tempfile.TemporaryDirectory() as place:
        records = [clip_record(Path(place), name, noise) for name, noise in (("good", 5), ("bad", 60))]
        table = summarise(records, {})
        assert nested_means(table["model"])["colour_shift"] == table["model"]["colour_shift"]["mean"] > 0
        assert table["difference"]["colour_shift"]["outcome"] in ("better", "worse", "cannot tell")
        write_results(records, Path(place) / "results.parquet")
        columns = pq.read_schema(Path(place) / "results.parquet").names
        assert {"colour_shift", "frame_colour_shift"} <= set(columns)
    assert "colour_shift" in protocol_texts()
    for name in ("select", "evaluate"):
        print("colour_shift" in stage_named(name).settings(Recipe()).metrics)
    """
    assert python_in(tmp_path, code) == "True\nTrue\n"


def test_a_data_source_takes_one_file_and_its_videos_are_read(tmp_path: Path) -> None:
    (block,) = changes("Add a data source")
    card = tmp_path / apply(block, tmp_path)
    layout = load_card(card).layout
    (sample,) = make_samples(tmp_path / "samples", clips=1, seconds=0.4, size=64)
    for number, subject in enumerate(("anna", "ben")):
        place = tmp_path / "videos" / layout.replace("<subject>", subject).replace("<take>", "talking")
        place.parent.mkdir(parents=True)
        place.write_bytes(sample.read_bytes() + bytes(number))  # other bytes, another source
    store = Store(tmp_path / "work")
    sources = scan(store, [Root(str(tmp_path / "videos"), card=str(card))])
    assert [source.subject for source in sources] == ["anna", "benjamin"], "two names of one person are one"
    assert {source.licence for source in sources} == {"our own recordings with written consent"}
    item = clip_items(sources)[0]
    source = Path(item.inputs["source"].path)
    with ShownVideo(source, show_settings(source, FootageConfig(), item.facts)) as shown:
        assert sum(1 for _ in shown.frames()) == 10


def test_a_recipe_takes_one_file_and_both_ways_say_the_same(tmp_path: Path) -> None:
    (entry,) = changes("Add a recipe")
    (own,) = [block for block in blocks(DOCUMENT, "Add a recipe") if block.path == "short.yaml"]
    (tmp_path / "short.yaml").write_text(own.text)
    recipe = load_recipe(str(tmp_path / "short.yaml"))
    assert recipe.train.stage1.steps == 3000 != Recipe().train.stage1.steps
    copy_tree(tmp_path / "tree")
    assert apply(entry, tmp_path / "tree") == "fye_model/recipes.py"
    code = (
        "from tasks.workspace.recipes import dump_recipe, load_recipe; print(dump_recipe(load_recipe('short')), end='')"
    )
    assert python_in(tmp_path / "tree", code) == dump_recipe(recipe)
