"""How a stage is declared, keyed, cached and resumed: the only file that knows Prefect's caching of stages.

A stage turns items into output folders. An item's key is the digest of what can change its result: the stage's name
and version, its settings, its input files' contents, its facts and the landmark model if it uses one. Two caches stand
on these keys: every finished item has a receipt (so a killed or damaged run redoes only what is missing), and every
finished stage has a Prefect result record (so an unchanged stage shows as Cached without looking at its items' data).
Both are believed only after the files that they name have been found (`receipts.py`).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from pydantic import JsonValue

from fye_model.config import Config, Recipe, Runtime
from fye_model.devices import Device, RunDevice
from tasks.engine import pool
from tasks.engine.beside import Beside
from tasks.engine.contract import Files, Resources, problems_with
from tasks.engine.items import Facts, Given, Item, Outcome, Quarantine, Row, StageResult, Worker, as_json
from tasks.engine.limits import gpus_held
from tasks.engine.many import many_records
from tasks.engine.progress import Progress
from tasks.engine.receipts import RECEIPT_SCHEMA, UNEXPECTED, Receipts, StageReceipt, stage_key
from tasks.engine.store import FileRef, Store, digest, file_digest, is_address

if TYPE_CHECKING:
    from prefect.states import State
    from prefect.tasks import Task

    from tasks.faces.landmarker import LandmarkerAsset

Settings = TypeVar("Settings", bound=Config)
logger = logging.getLogger(__name__)


class StorageFull(OSError):
    """The disk under the store is full. What is finished is kept; the same command goes on from there."""


@dataclass(frozen=True)
class Context:
    """What a worker finds in the process that it works in, beside its settings: nothing that changes its results.

    `device` is the one that the run has, and the CPU for a stage that declares no GPU.
    """

    runtime: Runtime
    device: str
    asset: LandmarkerAsset | None = None

    @property
    def landmarker(self) -> LandmarkerAsset:
        """The landmark model of the run; RuntimeError in a stage that does not declare that it uses one."""
        if self.asset is None:
            raise RuntimeError("this stage does not declare `uses_landmarker`, so no landmark model is in its key")
        return self.asset


@dataclass(frozen=True)
class Stage(Generic[Settings, Facts, Row]):
    """A step of the pipeline. Raise `version` when its code gives other results for the same inputs.

    settings: the parts of a recipe that change its results, and nothing else. reads, writes: its files and what they
    hold. row: the record that its worker returns. open: the worker for these settings; a context manager.
    """

    name: str
    version: str
    settings: Callable[[Recipe], Settings]
    reads: Files
    writes: Files
    row: type[Row]
    open: Callable[[Settings, Context], Worker[Facts, Row]]
    resources: Resources
    resumable: bool = False  # its scratch folder is kept over a kill, and the worker goes on in it
    tools: tuple[str, ...] = ()  # packages whose version can change the result
    uses_landmarker: bool = False
    beside: Files = field(default_factory=dict)  # files that its worker looks at, and its results do not depend on

    def key(self, settings: JsonValue, landmark_model: str | None, item: Item[Any]) -> str:
        """The digest of all that can change an item's result. `settings`: as `settings_by_content` gives them."""
        inputs: dict[str, JsonValue] = {name: ref.sha256 for name, ref in item.inputs.items()}
        tools: dict[str, JsonValue] = {name: _version(name) for name in self.tools}
        code: list[JsonValue] = [RECEIPT_SCHEMA, self.name, self.version, tools, landmark_model]
        return digest([code, settings, item.id, inputs, as_json(item.facts)])

    @many_records()
    def keys(
        self, store: Store, settings: Settings, asset: LandmarkerAsset | None, items: Sequence[Item[Facts]]
    ) -> list[str]:
        """The items' keys. Raises ValueError for an item whose files are not those that the stage declares."""
        return list(map(self.keyer(store, settings, asset), items))

    def keyer(self, store: Store, settings: Settings, asset: LandmarkerAsset | None) -> Callable[[Item[Facts]], str]:
        """What tells one item's key after the other, as `keys` does: what the settings name is looked at once."""
        values = settings_by_content(store, settings.model_dump())
        model = asset.model if asset is not None and self.uses_landmarker else None

        def key(item: Item[Facts]) -> str:
            problems = problems_with(item.inputs, self.reads) + problems_with(item.beside, self.beside)
            if problems:
                raise ValueError(f"{self.name} of {item.name}: {'; '.join(problems)}")
            return self.key(values, model, item)

        return key

    def run(
        self,
        store: Store,
        runtime: Runtime,
        items: Sequence[Item[Facts]],
        settings: Settings,
        asset: LandmarkerAsset | None = None,
        device: RunDevice | None = None,
        ahead: WorkAhead | None = None,
    ) -> StageResult[Row]:
        """Bring every item to its outcome, from the caches where they hold, and say so through Prefect.

        `device`: the run's, which its stages share; without one, this stage's own. `ahead`: what can be done with
        outcomes while others are still made. Must be called inside a Prefect flow.
        """
        begun = time.monotonic()
        device = device or RunDevice(runtime.device)
        job: _Job[Row] = _Job(self, store, runtime, list(items), settings, asset, device, ahead)
        from tasks.engine.prefect_records import checked_against

        with checked_against(job.receipts, job.key) as checked:
            state: State[Any] = _prefect_task(self, job)(job, return_state=True)  # type: ignore[assignment]
            receipt: StageReceipt = state.result(raise_on_failure=True)  # type: ignore[assignment]
            outcomes = checked.outcomes(receipt) if job.found is None else job.found
        cached = state.name == "Cached"
        return StageResult(
            stage=self.name,
            outcomes=outcomes,
            digest=receipt.digest,
            seconds=time.monotonic() - begun,
            work_seconds=sum(outcome.seconds for outcome in outcomes),
            fresh=0 if cached else receipt.fresh,
            state="Cached" if cached else "Completed",
            manifest=receipt.manifest,
        )


AnyStage = Stage[Any, Any, Any]
_version = lru_cache(version)  # asks the disk, and every item's key asks


class WorkAhead(Beside, Protocol):
    """Work on later stages' items beside a stage's own, as its outcomes settle."""

    def settled(self, stage: AnyStage, outcome: Outcome[Any]) -> None:
        """An item of the stage has come to this outcome."""
        ...


class _Job(Generic[Row]):
    """A stage's call. A plain object, which Prefect passes on without looking into it for futures."""

    def __init__(
        self,
        stage: Stage[Any, Any, Row],
        store: Store,
        runtime: Runtime,
        items: list[Item[Any]],
        settings: Config,
        asset: LandmarkerAsset | None,
        device: RunDevice,
        ahead: WorkAhead | None = None,
    ) -> None:
        self.stage, self.store, self.runtime, self.items = stage, store, runtime, items
        self.device, self.ahead = device, ahead
        self.settings, self.asset = settings, asset if stage.uses_landmarker else None
        self.keys = stage.keys(store, settings, asset, items)
        self.key = stage_key(stage, zip((item.name for item in items), self.keys, strict=True))
        self.receipts = Receipts(store, stage)
        self.found: list[Outcome[Row]] | None = None  # where nothing had to be made: what the items' receipts say

    def make_worker(self, device: Device) -> Callable[[], Worker[Any, Row]]:
        """Opens the stage's worker, in whatever process it is called."""
        return worker_maker(self.stage, self.settings, self.runtime, device, self.asset)

    def settle(self, outcome: Outcome[Row]) -> None:
        """Tell of an outcome who works ahead."""
        if self.ahead is not None:
            self.ahead.settled(self.stage, outcome)


def worker_maker(
    stage: Stage[Settings, Facts, Row],
    settings: Settings,
    runtime: Runtime,
    device: Device,
    asset: LandmarkerAsset | None,
) -> Callable[[], Worker[Facts, Row]]:
    """Opens the stage's worker, in whatever process it is called."""
    context = Context(runtime, device.name if stage.resources.gpus else "cpu", asset if stage.uses_landmarker else None)
    return partial(stage.open, settings, context)


def settings_by_content(store: Store, value: Any) -> JsonValue:
    """Settings as JSON values, each path replaced by the digest of the file or folder that it names."""
    if isinstance(value, dict):
        return {key: settings_by_content(store, entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [settings_by_content(store, entry) for entry in value]
    return store.content_digest(value) if isinstance(value, Path) else value


def _prefect_task(stage: AnyStage, job: _Job[Row]) -> Task[..., Any]:
    """The stage as a Prefect task whose record is keyed by content and checked against the store when read."""
    from prefect import task

    from tasks.engine.prefect_records import ReceiptSerializer, ResultRecords

    # no tags: for each, Prefect asks its server for a slot, and a run whose server is gone would end here
    declared = task(
        name=stage.name,
        task_run_name=f"{stage.name} ({len(job.items)} item{'s' if len(job.items) != 1 else ''})",
        cache_key_fn=lambda *_: f"{stage.name}-{job.key}",
        persist_result=True,
        result_serializer=ReceiptSerializer(),
        log_prints=False,
    )(_execute_stage)
    declared.result_storage = ResultRecords(url=job.store.url)  # as an argument it would have to be on the server
    return declared


def _execute_stage(job: _Job[Row]) -> StageReceipt:
    """Body of the Prefect task: find what is done, do the rest, write the manifest, return the receipt."""
    progress = Progress(job.stage.name, len(job.items))
    found = job.receipts.find_all(job.items, job.keys)
    outcomes = {index: outcome for index, outcome in enumerate(found) if outcome is not None}
    missing = largest_first(job.items, [index for index in range(len(job.items)) if index not in outcomes])
    progress.begin(cached=len(outcomes), missing=len(missing))
    for outcome in outcomes.values():
        job.settle(outcome)
    for position, outcome in _work(job, missing):
        outcomes[missing[position]] = outcome
        job.settle(outcome)
        progress.advance(outcome)
    ordered = [outcomes[index] for index in range(len(job.items))]
    progress.end(ordered)
    if not missing:
        job.found = ordered
    return job.receipts.write_stage(job.key, ordered, fresh=len(missing))


def largest_first(items: Sequence[Item[Any]], chosen: Iterable[int]) -> list[int]:
    """The chosen items' numbers by the size of what they read: a large one that came last would be waited for alone."""
    return sorted(chosen, key=lambda index: (-sum(ref.size for ref in items[index].inputs.values()), index))


def _work(job: _Job[Row], missing: list[int]) -> Iterator[tuple[int, Outcome[Row]]]:
    """Outcomes of the missing items as they are made, each with its place in `missing`."""
    if not missing:
        return
    stage, needs = job.stage, job.stage.resources
    device = job.device.get() if needs.gpus else Device("cpu", "the stage declares no GPU")
    handler = partial(item_handler, stage, job.store.url, job.make_worker(device))
    jobs = [(job.items[index], job.keys[index]) for index in missing]
    # Ray chooses among all cards that it sees; training takes the first `processes`
    most = None if needs.pooled else job.runtime.processes
    with gpus_held(device, most, f"{stage.name} of {job.store.url}", job.runtime.share_gpu):
        yield from _work_with(job, jobs, handler, device)


def _work_with(
    job: _Job[Row],
    jobs: list[tuple[Item[Any], str]],
    handler: Callable[[], contextlib.AbstractContextManager[Callable[[tuple[Item[Any], str]], Outcome[Row]]]],
    device: Device,
) -> Iterator[tuple[int, Outcome[Row]]]:
    """Outcomes of jobs as they are made, each with its number: here, or by a pool of workers."""
    needs = job.stage.resources
    shared_memory_only = job.store.url.startswith("memory:")  # another process would not see it
    if not needs.pooled or job.runtime.workers == 0 or shared_memory_only:
        if not needs.pooled:
            pool.shutdown()  # whole stages want the memory
        yield from pool.run_inline(handler, jobs)
        return
    share = Resources(needs.cpus, needs.gpus if device.is_cuda else 0.0, needs.memory_gib)
    runtime = job.runtime
    for position, result in pool.run_pool(
        handler,
        jobs,
        workers=runtime.workers,
        timeout_s=runtime.item_timeout_s,
        attempts=runtime.item_attempts,
        share=share,
        names=[item.name for item, _ in jobs],
        beside=job.ahead,
    ):
        if isinstance(result, pool.GivenUp):
            yield position, _given_up(job, *jobs[position], result)
        else:
            yield position, result


def _given_up(job: _Job[Row], item: Item[Any], key: str, what: pool.GivenUp) -> Outcome[Row]:
    """Set an item aside: for good where it took too long, and only for this run where its workers died."""
    if what.reason == pool.WORKER_DIED:
        message = f"{what.message}. The machine may be to blame (memory, a kill): it is tried again in the next run"
        return job.receipts.failed(item, key, what.reason, message)
    advice = "Spans of a long video take less each (fye sources spans)"
    message = f"{what.message}. {advice}. To try it again: fye retry --reason {what.reason}, and run"
    return job.receipts.set_aside(item, key, what.reason, message)


@contextlib.contextmanager
def item_handler(
    stage: Stage[Any, Any, Row], store_url: str, make_worker: Callable[[], Worker[Any, Row]]
) -> Iterator[Callable[[tuple[Item[Any], str]], Outcome[Row]]]:
    """In the process that does the work: the worker's models loaded once, then item after item."""
    store = Store(store_url)
    with make_worker() as worker:
        yield partial(_process_item, stage, store, worker)


def _process_item(
    stage: Stage[Any, Any, Row], store: Store, worker: Worker[Any, Row], job: tuple[Item[Any], str]
) -> Outcome[Row]:
    item, key = job
    receipts = Receipts(store, stage)
    with store.claimed(f"{stage.name}/{key[:32]}") as scratch:
        found = receipts.find(item, key, tell=False)  # another run may have made it meanwhile
        if found is not None:
            return found
        if not stage.resumable:
            shutil.rmtree(scratch)
            scratch.mkdir()
        begun = time.monotonic()
        try:
            row = worker.process(given(store, item, scratch))
            return receipts.settle(item, key, scratch, row, time.monotonic() - begun)
        except Quarantine as bad:
            partly = cast(Row | None, bad.found)
            return receipts.set_aside(item, key, bad.reason, bad.message, time.monotonic() - begun, scratch, partly)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                shutil.rmtree(scratch, ignore_errors=True)
                raise StorageFull(
                    error.errno,
                    f"no space left on the disk of {store.url} while making {stage.name} of {item.name}. Everything "
                    "finished is kept: free some space and run the same command again",
                ) from error
            return _unexpected(receipts, item, key, error)
        except Exception as error:
            return _unexpected(receipts, item, key, error)
        finally:
            store.forget_fetched(ref.path for ref in _files_of(item).values())


def given(store: Store, item: Item[Facts], out: Path) -> Given[Facts]:
    """An item as its worker sees it; remote files are fetched."""
    files = {}
    for name, ref in _files_of(item).items():
        files[name] = store.local_path(ref.path)
        if is_address(ref.path) and file_digest(files[name]) != ref.sha256:
            raise Quarantine(
                "changed", f"{ref.path} holds other bytes than it was said to (sha256 {ref.sha256[:16]}…); list it anew"
            )
    return Given(item.name, files, item.facts, out)


def _files_of(item: Item[Any]) -> dict[str, FileRef]:
    return {**item.inputs, **item.beside}


def _unexpected(receipts: Receipts[Row], item: Item[Any], key: str, error: Exception) -> Outcome[Row]:
    """A failure nobody foresaw. A clip is set aside for this run only; a whole stage fails the run."""
    stage = receipts.stage
    if not stage.resources.pooled:
        raise error
    logger.exception("%s of %s failed", stage.name, item.name)
    message = f"{type(error).__name__}: {error}; not expected: it is tried again in the next run"
    return receipts.failed(item, key, UNEXPECTED, message)
