"""Folders of portraits and drivers: every portrait performs every driver, one after the other or several at once,
resumable by pair."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fye_model.animation.compatibility import check_folder
from fye_model.animation.description import need_description
from fye_model.config import SamplingConfig
from fye_model.devices import choose_device
from tasks.animation.pairs import (
    Pair,
    PairRecord,
    find_pairs,
    key_of_pair,
    read_records,
    result_digest,
    write_records,
)
from tasks.animation.progress import seconds
from tasks.engine.contract import Resources
from tasks.engine.pool import GivenUp, run_inline, run_pool, shutdown
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.animate import AnimateRequest, AnimateSettings, animate, load_for_animation

if TYPE_CHECKING:  # the networks are slow to import
    from fye_model.animation.pipeline import FollowYourEmojiPipeline

Log = Callable[[str], None]
_WORKER_GIB = 2.0
_LONGEST_S = 24 * 3600.0  # of one pair: beyond, its worker hangs


def animate_many(
    portraits: Path,
    driving: Path,
    model: Path,
    output: Path,
    asset: LandmarkerAsset,
    settings: AnimateSettings,
    sampling: SamplingConfig,
    ending: str = ".mp4",
    device: str = "auto",
    log: Log = print,
    workers: int | None = 1,
) -> dict[str, PairRecord]:
    """Write `output`/PORTRAIT--DRIVER`ending` for every pair, and `animations.json`; returns its records by name.

    portraits: a picture or a folder of them; driving: a driver, or a folder of videos and landmark tables. The model is
    loaded once, or once in each of `workers` processes, which have a card each where there are cards; None: one for
    each card. A pair whose result is there, whole and made from the same, is kept; one that cannot be animated is
    written down with the reason, and the others go on; files that are no portraits or drivers are passed over, which
    `log` is told. Raises ValueError for places that hold nothing to animate.
    """
    check_folder(model)
    for line in need_description(model).cautions(asset.model):
        log(line)
    pairs, passed_over = find_pairs(portraits, driving, output, ending)
    for why in passed_over:
        log(f"WARNING: passed over {why}")
    output.mkdir(parents=True, exist_ok=True)
    records = read_records(output)
    options = {**settings.model_dump(mode="json"), "sampling": sampling.model_dump(mode="json")}
    jobs = []
    for place, pair in enumerate(pairs, 1):
        name, key = pair.output.name, key_of_pair(pair, options, model)
        if _is_done(records.get(name), key, pair.output):
            log(f"{place} of {len(pairs)} {name}: kept")
            continue
        request = {**dict(settings), **vars(pair), "model": model, "sampling": sampling, "device": device}
        jobs.append(_Job(place, pair, key, AnimateRequest.model_validate(request)))
    started = time.monotonic()
    for made, (index, found) in enumerate(_made(jobs, model, device, asset, workers, log), 1):
        job = jobs[index]
        name = job.pair.output.name
        if isinstance(found, GivenUp):
            found = _record(job).model_copy(update={"error": found.message})
        records[name] = found
        write_records(output, records)
        left = seconds((time.monotonic() - started) / made * (len(jobs) - made))
        log(f"{job.place} of {len(pairs)} {name}: {found.error or 'made'}; about {left} left")
    return {pair.output.name: records[pair.output.name] for pair in pairs}


@dataclass(frozen=True)
class _Job:
    """A pair that has to be made. place: among all pairs, from 1."""

    place: int
    pair: Pair
    key: str
    request: AnimateRequest


def _made(
    jobs: list[_Job], model: Path, device: str, asset: LandmarkerAsset, workers: int | None, log: Log
) -> Iterator[tuple[int, PairRecord | GivenUp]]:
    """Each job's index and what became of it, as they end: here, or in `workers` processes with a card each."""
    if not jobs:
        return
    if workers is None:
        workers = 1 if ":" in device else choose_device(device).cards
    if workers < 2:
        yield from run_inline(partial(_maker, model, device, asset, log), jobs)
        return
    chosen = choose_device(device)
    if chosen.is_cuda and ":" in chosen.name:
        raise ValueError(f"{workers} workers need a card each, and device {chosen.name} is one: give --device cuda")
    cpus = max(1, (os.cpu_count() or 1) // workers)
    share = Resources(cpus=cpus, gpus=float(chosen.is_cuda), memory_gib=_WORKER_GIB)
    log(f"up to {workers} workers, each with the model loaded once and {share.cpus} CPU{', 1 GPU' * chosen.is_cuda}")
    names = [job.pair.output.name for job in jobs]
    maker = partial(_maker, model, device, asset, _silent)
    try:
        yield from run_pool(maker, jobs, workers=workers, timeout_s=_LONGEST_S, attempts=2, share=share, names=names)
    finally:
        shutdown()


@contextmanager
def _maker(model: Path, device: str, asset: LandmarkerAsset, log: Log) -> Iterator[Callable[[_Job], PairRecord]]:
    """Makes pairs with one pipeline, in whichever process this is."""
    pipeline = load_for_animation(model, choose_device(device), log)
    yield lambda job: _make(job, asset, pipeline)


def _is_done(record: PairRecord | None, key: str, output: Path) -> bool:
    if record is None or record.key != key or record.sha256 is None:
        return False
    return result_digest(output) == record.sha256


def _make(job: _Job, asset: LandmarkerAsset, pipeline: FollowYourEmojiPipeline) -> PairRecord:
    record = _record(job)
    try:
        result = animate(job.request, asset, _silent, pipeline)
    except ValueError as error:
        return record.model_copy(update={"error": str(error)})
    found = {"sha256": result_digest(job.pair.output), "frames": result.frames, "notes": result.notes}
    return record.model_copy(update=found)


def _record(job: _Job) -> PairRecord:
    return PairRecord(portrait=str(job.pair.portrait), driving=str(job.pair.driving), key=job.key)


def _silent(line: str) -> None:
    """A pair's own lines are in its record."""
