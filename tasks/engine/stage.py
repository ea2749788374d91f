"""How a stage is cached, resumed and shown: the only file that knows Prefect's caching and our receipts.

A stage turns items into output folders. An item's key is the digest of what can change its result: the stage's name
and version, its configuration, its input files' contents, its parameters and the model files used. Two caches stand
on these keys: every finished item has a receipt (so a killed or damaged run redoes only what is missing), and every
finished stage has a Prefect result record (so an unchanged stage shows as Cached without looking at its items' data).
Both are believed only after the files that they name have been found with the recorded sizes; a file that was written
to since has its content compared.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fye_model.config import Config, Runtime
from tasks.engine import pool
from tasks.engine.items import Item, Outcome, Quarantine, StageResult, Worker, read_manifest, write_manifest
from tasks.engine.progress import Progress
from tasks.engine.store import Store, digest, folder_files

if TYPE_CHECKING:
    from prefect.states import State
    from prefect.tasks import Task

RECEIPT_SCHEMA = 1
logger = logging.getLogger(__name__)


class StorageFull(OSError):
    """The disk under the store is full. What is finished is kept; the same command goes on from there."""


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline. Raise `version` when its code gives other results for the same inputs."""

    name: str
    version: str
    worker: Callable[..., Worker]
    pooled: bool = True  # by Ray actors, item by item; else in this process
    resumable: bool = False  # its scratch folder is kept over a kill, and the worker goes on in it
    tools: tuple[str, ...] = ()  # packages whose version can change the result
    needs: tuple[str, ...] = ()  # of the run, handed to the worker: "landmarker", "runtime"

    def key(self, config: dict[str, Any], assets: dict[str, str], item: Item) -> str:
        inputs = {name: ref.sha256 for name, ref in item.inputs.items()}
        tools = {name: version(name) for name in self.tools}
        code = [RECEIPT_SCHEMA, self.name, self.version, tools]
        return digest([code, config, assets, item.id, inputs, item.params])

    def run(
        self,
        store: Store,
        runtime: Runtime,
        items: Sequence[Item],
        configs: dict[str, Config] | None = None,
        *,
        assets: dict[str, str] | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> StageResult:
        """Bring every item to its outcome, from the caches where they hold, and say so through Prefect.

        The worker class is called with `**configs, **arguments`. `configs` and `assets` (name -> digest) change
        results and are part of the key; `arguments` must follow from them, or change only speed (paths, devices).
        A path in a configuration counts by what lies there. Must be called inside a Prefect flow.
        """
        begun = time.monotonic()
        settings = {name: _by_content(store, config.model_dump()) for name, config in (configs or {}).items()}
        made_of = {**(configs or {}), **(arguments or {})}
        job = _Job(self, store, runtime, list(items), settings, assets or {}, made_of)
        from tasks.engine.prefect_records import receipts_of

        with receipts_of(store):
            state: State[Any] = _prefect_task(self, job)(job, return_state=True)  # type: ignore[assignment]
            receipt: dict[str, Any] = state.result(raise_on_failure=True)  # type: ignore[assignment]
        outcomes = read_manifest(store, receipt["manifest"])
        cached = state.name == "Cached"
        return StageResult(
            stage=self.name,
            outcomes=outcomes,
            digest=receipt["digest"],
            seconds=time.monotonic() - begun,
            work_seconds=sum(outcome.seconds for outcome in outcomes),
            fresh=0 if cached else receipt["fresh"],
            state="Cached" if cached else "Completed",
        )


class _Job:
    """A stage's call. A plain object, which Prefect passes on without looking into it for futures."""

    def __init__(
        self,
        stage: Stage,
        store: Store,
        runtime: Runtime,
        items: list[Item],
        settings: dict[str, Any],
        assets: dict[str, str],
        arguments: dict[str, Any],
    ) -> None:
        self.stage, self.store, self.runtime, self.items = stage, store, runtime, items
        self.make_worker = partial(stage.worker, **arguments)
        self.keys = [stage.key(settings, assets, item) for item in items]
        self.key = digest([stage.name, [[item.name, key] for item, key in zip(items, self.keys, strict=True)]])


def _by_content(store: Store, value: Any) -> Any:
    """A configuration as JSON values, each path replaced by the digest of the file or folder that it names."""
    if isinstance(value, dict):
        return {key: _by_content(store, entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_by_content(store, entry) for entry in value]
    return store.content_digest(value) if isinstance(value, Path) else value


def _prefect_task(stage: Stage, job: _Job) -> Task[..., Any]:
    """The stage as a Prefect task whose record is keyed by content and checked against the store when read."""
    from prefect import task

    from tasks.engine.prefect_records import ReceiptSerializer, result_storage

    return task(
        name=stage.name,
        task_run_name=f"{stage.name} ({len(job.items)} item{'s' if len(job.items) != 1 else ''})",
        cache_key_fn=lambda *_: f"{stage.name}-{job.key}",
        persist_result=True,
        result_storage=result_storage(job.store),
        result_serializer=ReceiptSerializer(),
        log_prints=False,
    )(_execute_stage)


def verify_receipt(store: Store, receipt: dict[str, Any]) -> None:
    """Raise ValueError unless everything that a stage receipt names is there as recorded."""
    if receipt.get("schema") != RECEIPT_SCHEMA or not receipt.get("settled"):
        raise ValueError("the receipt is of another version, or of a run with failures to try again")
    manifest = receipt["manifest"]
    if store.size(manifest["path"]) != manifest["size"]:
        raise ValueError(f"{manifest['path']} is missing or damaged")
    for outcome in read_manifest(store, manifest):
        if not _is_complete(store, outcome):
            raise ValueError(f"an output of {outcome.name} is missing or damaged")


def _is_complete(store: Store, outcome: Outcome) -> bool:
    receipt = f"{outcome.folder}/receipt.json"
    return store.exists(receipt) and all(
        store.holds(f"{outcome.folder}/{name}", size, sha256, since=receipt)
        for name, (size, sha256) in outcome.files.items()
    )


def _execute_stage(job: _Job) -> dict[str, Any]:
    """Body of the Prefect task: find what is done, do the rest, write the manifest, return the receipt."""
    stage, store = job.stage, job.store
    progress = Progress(stage.name, len(job.items))
    outcomes: dict[int, Outcome] = {}
    for index, (item, key) in enumerate(zip(job.items, job.keys, strict=True)):
        found = _find_outcome(store, stage, item, key)
        if found is not None:
            outcomes[index] = found
    missing = [index for index in range(len(job.items)) if index not in outcomes]
    progress.begin(cached=len(outcomes), missing=len(missing))

    handler = partial(_item_handler, stage, store.url, job.make_worker)
    jobs = [(job.items[index], job.keys[index]) for index in missing]
    shared_memory_only = store.url.startswith("memory:")  # another process would not see it
    if not jobs:
        results: Iterator[tuple[int, Any]] = iter(())
    elif stage.pooled and job.runtime.workers > 0 and not shared_memory_only:
        limits = {"timeout_s": job.runtime.item_timeout_s, "attempts": job.runtime.item_attempts}
        results = pool.run_pool(handler, jobs, workers=job.runtime.workers, **limits)  # type: ignore[arg-type]
    else:
        if not stage.pooled:
            pool.shutdown()  # whole stages want the memory
        results = pool.run_inline(handler, jobs)
    for position, result in results:
        index = missing[position]
        if isinstance(result, pool.GivenUp):
            result = _settle(
                store, stage, job.items[index], job.keys[index], reason=result.reason, message=result.message
            )
        outcomes[index] = result
        progress.advance(result)
    ordered = [outcomes[index] for index in range(len(job.items))]
    progress.end(ordered)
    return _write_receipt(store, stage, job.key, ordered, fresh=len(missing))


def _find_outcome(store: Store, stage: Stage, item: Item, key: str) -> Outcome | None:
    folder = _folder(stage, key)
    try:
        receipt = store.read_json(f"{folder}/receipt.json")
    except FileNotFoundError:
        return None
    except (ValueError, UnicodeDecodeError):
        logger.warning("%s/receipt.json is damaged; %s is done again", folder, item.name)
        return None
    outcome = _outcome(item, key, folder, receipt)
    return outcome if _is_complete(store, outcome) else None


def _folder(stage: Stage, key: str) -> str:
    return f"items/{stage.name}/{key[:32]}"


def _outcome(item: Item, key: str, folder: str, receipt: dict[str, Any]) -> Outcome:
    kept = {name: receipt[name] for name in ("files", "row", "reason", "message", "seconds")}
    return Outcome(id=item.id, name=item.name, key=key, folder=folder, **kept)


def _settle(
    store: Store,
    stage: Stage,
    item: Item,
    key: str,
    *,
    scratch: Path | None = None,
    row: dict[str, Any] | None = None,
    reason: str | None = None,
    message: str | None = None,
    seconds: float = 0.0,
) -> Outcome:
    """Publish an item's outcome, receipt last."""
    files = folder_files(scratch) if scratch is not None and reason is None else {}
    receipt = {
        "schema": RECEIPT_SCHEMA,
        "stage": stage.name,
        "version": stage.version,
        "key": key,
        "item": item.id,
        "files": files,
        "row": row or {},
        "reason": reason,
        "message": message,
        "seconds": round(seconds, 3),
    }
    folder = _folder(stage, key)
    if scratch is None or reason is not None:
        if scratch is not None:
            shutil.rmtree(scratch)
        store.write_json(f"{folder}/receipt.json", receipt)
    else:
        store.publish(scratch, folder, receipt)
    return _outcome(item, key, folder, receipt)


@contextlib.contextmanager
def _item_handler(
    stage: Stage, store_url: str, make_worker: Callable[[], Worker]
) -> Iterator[Callable[[tuple[Item, str]], Outcome]]:
    """In the process that does the work: the worker's models loaded once, then item after item."""
    store = Store(store_url)
    with make_worker() as worker:
        yield partial(_process_item, stage, store, worker)


def _process_item(stage: Stage, store: Store, worker: Worker, job: tuple[Item, str]) -> Outcome:
    item, key = job
    with store.claimed(f"{stage.name}/{key[:32]}") as scratch:
        found = _find_outcome(store, stage, item, key)  # another run may have made it meanwhile
        if found is not None:
            return found
        if not stage.resumable:
            shutil.rmtree(scratch)
            scratch.mkdir()
        begun = time.monotonic()
        settle = partial(_settle, store, stage, item, key, scratch=scratch)
        try:
            files = {name: store.local_path(ref.path) for name, ref in item.inputs.items()}
            row = worker.process(files, {**item.params, **item.extras}, scratch)
            return settle(row=row, seconds=time.monotonic() - begun)
        except Quarantine as bad:
            return settle(reason=bad.reason, message=bad.message, seconds=time.monotonic() - begun)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                shutil.rmtree(scratch, ignore_errors=True)
                raise StorageFull(
                    error.errno,
                    f"no space left on the disk of {store.url} while making {stage.name} of {item.name}. Everything "
                    "finished is kept: free some space and run the same command again",
                ) from error
            return _unexpected(stage, item, key, error)
        except Exception as error:
            return _unexpected(stage, item, key, error)


def _unexpected(stage: Stage, item: Item, key: str, error: Exception) -> Outcome:
    """A failure nobody foresaw. A clip is set aside for this run only; a whole stage fails the run."""
    if not stage.pooled:
        raise error
    logger.exception("%s of %s failed", stage.name, item.name)
    message = f"{type(error).__name__}: {error}; not expected: it is tried again in the next run"
    return Outcome(item.id, item.name, key, _folder(stage, key), {}, {}, "unexpected_error", message)


def _write_receipt(store: Store, stage: Stage, key: str, outcomes: list[Outcome], *, fresh: int) -> dict[str, Any]:
    return {
        "schema": RECEIPT_SCHEMA,
        "stage": stage.name,
        "key": key,
        "manifest": write_manifest(store, f"stages/{stage.name}/{key[:32]}.parquet", outcomes),
        "digest": digest([outcome.identity() for outcome in outcomes]),
        "done": sum(outcome.done for outcome in outcomes),
        "quarantined": sum(not outcome.done for outcome in outcomes),
        "fresh": fresh,
        "settled": all(outcome.reason != "unexpected_error" for outcome in outcomes),
    }
