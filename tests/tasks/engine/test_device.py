"""The device that was asked for is the one that every worker gets, also where PyTorch finds GPUs; it is said once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fye_model.config import Runtime
from fye_model.devices import RunDevice, choose_device
from fye_model.training.distributed import join_world
from tasks import evaluate, select
from tasks.engine import cards, pool
from tasks.engine.contract import Resources
from tasks.engine.items import NOTHING, Given, Item, Quarantine, Worker
from tasks.engine.stage import AnyStage, Context, _Job, _work
from tasks.engine.store import FileRef, Store
from tasks.evaluate import EVALUATE
from tasks.faces.landmarker import LandmarkerAsset
from tasks.latents import LATENTS
from tasks.plan import STAGES
from tasks.select import SELECT
from tasks.workspace.dataset import ClipSet
from tasks.workspace.run import Run
from tests.debug import DEBUG
from tests.tasks.support import LENGTH, text_items

ASSET = LandmarkerAsset(Path("none.task"), "test_model:0", "0" * 64, has_matrix=False, source="test")
ON_GPU = {stage.name for stage in STAGES if stage.resources.gpus}


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PyTorch claims two cards, locked in a place of the test's own; whoever would compute on one fails."""
    monkeypatch.setattr(cards, "FOLDER", tmp_path / "cards")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Test Card")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"test-card-{index}"))


class Witness(Worker[Any, Any]):
    """Notes what it is opened with, and does nothing."""

    def __init__(self, seen: list[Context], settings: Any, context: Context) -> None:
        seen.append(context)

    def process(self, item: Given[Any]) -> Any:
        raise Quarantine("only_looking", "this worker only notes its device")


def contexts(stage: AnyStage, store: Store, runtime: Runtime) -> list[Context]:
    """What the stage's workers are opened with, by the stage's own way from a run's settings to a worker."""
    seen: list[Context] = []
    stage = replace(stage, open=lambda settings, context: Witness(seen, settings, context))
    inputs = {name.rstrip("?").replace("*", "x"): FileRef("/none", "0" * 64, 0) for name in stage.reads}
    job = _Job(
        stage,
        store,
        runtime,
        [Item("i", "i", inputs, NOTHING)],
        stage.settings(DEBUG),
        ASSET,
        RunDevice(runtime.device),
    )
    assert len(list(_work(job, [0]))) == 1
    return seen


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_device_cpu_is_the_cpu_for_every_stage_and_auto_is_a_gpu_where_declared(
    stage: AnyStage, tmp_path: Path
) -> None:
    (context,) = contexts(stage, Store(tmp_path / "cpu"), Runtime(workers=0, device="cpu"))
    assert context.device == "cpu"
    (context,) = contexts(stage, Store(tmp_path / "auto"), Runtime(workers=0))
    assert context.device == ("cuda" if stage.name in ON_GPU else "cpu")


@pytest.mark.usefixtures("two_gpus")
def test_actors_are_given_a_card_each_unless_the_run_is_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[Resources] = []

    def run_pool(make: pool.MakeHandler, jobs: Sequence[Any], *, share: Resources, **_: Any) -> Iterator[Any]:
        shares.append(share)
        return pool.run_inline(make, jobs)

    monkeypatch.setattr(pool, "run_pool", run_pool)
    for device in ("cpu", "auto"):
        contexts(LATENTS, Store(tmp_path / device), Runtime(workers=2, device=device))
    assert [share.gpus for share in shares] == [0, 1]
    assert {share.memory_gib for share in shares} == {LATENTS.resources.memory_gib}


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("stage", "module", "work"), [(EVALUATE, evaluate, "evaluate"), (SELECT, select, "select")])
def test_evaluation_and_selection_compute_where_their_context_says(
    stage: AnyStage, module: Any, work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []

    def note(*_: Any, device: str, **__: Any) -> Any:
        used.append(device)
        raise Quarantine("only_looking", "")

    monkeypatch.setattr(module, "training_index", lambda *_: nullcontext(tmp_path / "index.json"))
    monkeypatch.setattr(module, work, note)
    files = {name.replace("*", "x"): tmp_path / name.replace("*", "x") for name in stage.reads}
    facts = ClipSet(size=64, factor=8, fps=25.0, landmark_model="m:0", clips=())
    context = Context(Runtime(workers=0, device="cpu"), "cpu", ASSET)
    with stage.open(stage.settings(DEBUG), context) as worker, pytest.raises(Quarantine):
        worker.process(Given("item", files, facts, tmp_path))
    assert used == ["cpu"]


@pytest.mark.usefixtures("two_gpus")
def test_a_training_process_that_is_told_cpu_stays_there() -> None:
    assert choose_device("cpu").name == "cpu"
    with join_world("cpu") as world:
        assert world.device.type == "cpu"


@pytest.mark.usefixtures("prefect_server", "two_gpus")
def test_a_run_says_its_device_and_why_once_and_not_before_it_computes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from prefect import flow  # slow to import, and the other tests need none

    caplog.set_level(logging.INFO)
    stages = [
        LENGTH,
        replace(LENGTH, name="test_first", resources=Resources(gpus=1, pooled=False)),
        replace(LENGTH, name="test_second", resources=Resources(gpus=1, pooled=False)),
    ]

    def said_by_a_run() -> list[str]:
        @flow(name="test-device")
        def test_flow() -> None:
            run = Run(Store(tmp_path / "store"), DEBUG, Runtime(workers=0, device="cpu"), ASSET)
            for stage in stages:
                run.stage(stage, text_items(tmp_path, a="aaaa"))

        caplog.clear()
        test_flow()
        return [record.getMessage() for record in caplog.records if "computing on" in record.getMessage()]

    assert said_by_a_run() == ["computing on cpu (as asked for)"]
    assert said_by_a_run() == [], "everything was found done"


@pytest.mark.usefixtures("two_gpus")
def test_what_was_found_is_said_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    device = RunDevice()
    assert device.get() is device.get() and device.get().cards == 2
    assert [record.getMessage() for record in caplog.records] == ["computing on cuda (Test Card, 2 of them, found)"]
