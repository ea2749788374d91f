"""Items made before their stage's turn are the stage's own, and whatever befalls them there fails no run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from prefect import flow

from fye_model.config import Runtime
from fye_model.devices import RunDevice
from tasks.engine.ahead import Ahead
from tasks.engine.items import Outcome, StageResult
from tasks.engine.pool import shutdown
from tasks.engine.stage import AnyStage
from tasks.engine.store import Store
from tasks.faces.landmarker import LandmarkerAsset
from tasks.workspace.run import Run
from tests.debug import DEBUG
from tests.tasks.ahead import DOUBLE, FIRST, LONGEST_S, Broken, DoubleAhead, double_items, made, receipts
from tests.tasks.support import LengthConfig, LengthRow, text_items

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]

ASSET = LandmarkerAsset(Path("none.task"), "test_model:0", "0" * 64, has_matrix=False, source="test")
AHEAD = Runtime(workers=1, ahead=True, device="cpu")
Both = tuple[StageResult[LengthRow], StageResult[LengthRow]]


@pytest.fixture(scope="module", autouse=True)
def no_ray_left() -> Iterator[None]:
    yield
    shutdown()


def run(
    folder: Path, texts: dict[str, str], runtime: Runtime = AHEAD, without: str = "", second: AnyStage = DOUBLE
) -> Both:
    """Both stages over these texts; the second one's turn comes `without` one of the first one's outcomes."""

    @flow(name="test-ahead")
    def test_flow() -> Both:
        this = Run(Store(folder / "store"), DEBUG, runtime, ASSET)
        first = this.stage(FIRST, text_items(folder, **texts), DoubleAhead((second,)))
        items = double_items([each for each in first.done if each.name != without])
        return first, this.stage(second, items)

    return test_flow()


@contextmanager
def going_on_when(folder: Path, ready: Callable[[], bool]) -> Iterator[None]:
    """Lets the last text go, and what was ill be well, as soon as it is so in the block; it has to come to be so."""
    folder.mkdir(exist_ok=True)
    was: list[bool] = []

    def look() -> None:
        until = time.monotonic() + LONGEST_S
        while not ready() and time.monotonic() < until:
            time.sleep(0.05)
        was.append(ready())
        (folder / "well").touch()
        (folder / "go").touch()

    thread = threading.Thread(target=look)
    thread.start()
    yield
    thread.join()
    assert was == [True]


def seen(folder: Path) -> list[int]:
    """The lengths that were given to be doubled, in order."""
    path = folder / "seen"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_items_are_made_while_the_stage_before_is_at_work_and_are_the_stage_s_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    texts = {"a": "a" * 8, "b": "b" * 6, "c": "c" * 9, "d": "d" * 10, "last": "last"}
    ahead, plain = tmp_path / "ahead", tmp_path / "plain"
    with going_on_when(ahead, lambda: len(receipts(ahead / "store", DOUBLE.name)) == 4):
        _, second = run(ahead, texts, without="d")
    assert [outcome.reason for outcome in second.outcomes] == [None, None, "bad_length", None]
    assert second.counts().computed == 4, "what this run made before its turn counts as made in it"
    assert "test_double: 3 of its 4 items were made ahead, and 1 for nothing" in caplog.messages
    assert sorted(seen(ahead)) == [4, 6, 8, 9, 10], "none is made twice"
    with going_on_when(plain, lambda: True):
        run(plain, texts, Runtime(workers=0, ahead=False))
    stages = (FIRST.name, DOUBLE.name)
    assert made(plain / "store", *stages) == made(ahead / "store", *stages)


def test_bugs_and_deaths_are_left_to_the_stage_s_turn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def left() -> list[str]:
        return [line for line in caplog.messages if "is left to its turn" in line]

    texts = {"good": "g" * 8, "kill": "k" * 7, "bug": "b" * 5, "last": "last"}
    with going_on_when(tmp_path, lambda: len(left()) == 2):
        first, second = run(tmp_path, texts)
    assert "of kill is left" in left()[0] and "RuntimeError: a bug met this length" in left()[1]
    assert not first.quarantined and not second.quarantined
    assert [outcome.row.length for outcome in second.outcomes] == [16, 14, 10, 8]
    assert sorted(seen(tmp_path)) == [4, 5, 5, 7, 7, 8], "those that failed were tried again, no other"


def test_what_hangs_is_ended_with_the_stage_before_and_lets_go_of_its_item(tmp_path: Path) -> None:
    begun = time.monotonic()
    with going_on_when(tmp_path, lambda: seen(tmp_path) == [11]):
        first, second = run(tmp_path, {"hang": "h" * 11, "last": "last"})
    assert [outcome.row.length for outcome in [*first.outcomes, *second.outcomes]] == [11, 4, 22, 8]
    assert sorted(seen(tmp_path)) == [4, 11, 11] and time.monotonic() - begun < AHEAD.item_timeout_s


class Weights(LengthConfig):
    weights: Path


def test_what_settings_name_is_looked_at_once_for_all_items(tmp_path: Path) -> None:
    weights, store = tmp_path / "weights", Store(tmp_path / "store")
    weights.write_text("a network")
    double = replace(DOUBLE, settings=lambda recipe: Weights(weights=weights))
    work = Ahead(store, AHEAD, RunDevice("cpu"), ASSET, DoubleAhead((double,)), {})
    assert work.hands() is not None
    files = {"deep/length.txt": (1, "0" * 64)}
    outcomes = [Outcome(name, name, name, f"items/{name}", files, LengthRow(length=1)) for name in "ab"]
    turn = double.keys(store, Weights(weights=weights), ASSET, double_items(outcomes))
    weights.unlink()
    for outcome in outcomes:
        work.settled(FIRST, outcome)
    jobs = [work.next_job(), work.next_job()]
    assert [job.key for job in jobs if job is not None] == turn and work.next_job() is None


def test_what_cannot_work_at_all_fails_at_its_turn_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def told() -> bool:
        return any(line.startswith("nothing more of test_double is made ahead") for line in caplog.messages)

    broken = replace(DOUBLE, open=Broken)
    with going_on_when(tmp_path, told), pytest.raises(ValueError, match="no such model"):
        run(tmp_path, {"a": "a" * 8, "last": "last"}, second=broken)
    assert len(receipts(tmp_path / "store", FIRST.name)) == 2, "the stage before went on to its end"


def test_on_the_cpu_nothing_is_made_ahead_unless_it_is_asked_for(tmp_path: Path) -> None:
    with going_on_when(tmp_path, lambda: len(receipts(tmp_path / "store", FIRST.name)) == 1):
        _, second = run(tmp_path, {"a": "a" * 8, "last": "last"}, AHEAD.model_copy(update={"ahead": None}))
    assert seen(tmp_path) == [8, 4] and second.counts().computed == 2
