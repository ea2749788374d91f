"""The training loop: `train(job)` runs one stage from its start, or from where it was interrupted, to its end.

A step is a pure function of the weights, the optimizer and (seed, step): the batch is (see `data.py`), and torch's
global generator is seeded anew for each step. So a run that is killed and resumed gives the weights of one that is not.
"""

from __future__ import annotations

import hashlib
import logging
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import default_collate

from fye_model.config import TrainStageConfig
from fye_model.training import checkpoint
from fye_model.training.beginning import Laps, start_server
from fye_model.training.boards import check_boards
from fye_model.training.data import StepBatches, TrainingSamples
from fye_model.training.distributed import World, join_world
from fye_model.training.failures import Diverged, advising_on_memory
from fye_model.training.index import read_index
from fye_model.training.job import Json, TrainJob, digest_of
from fye_model.training.loader import Batches
from fye_model.training.objective import Objective
from fye_model.training.previews import Previews
from fye_model.training.progress import Progress, StepRecord, Utilisation
from fye_model.training.sharding import shard
from fye_model.training.start import identify, load_networks, make_samples, start
from fye_model.training.step import Batch, Step, StepResult, WorkingStep, make_step
from fye_model.training.validation import validate
from fye_model.training.work import matrix_rate, sample_work

STEPS_AHEAD = 2  # that the processor may be ahead of the GPU: enough to keep it busy, and memory bounded
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """Where a run stands: `finished`, or stopped on request at `step`; all its checkpoints, oldest first."""

    stage: int
    step: int
    finished: bool
    checkpoints: tuple[Path, ...]


def train(
    job: TrainJob,
    log: Callable[[str], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    laps: Laps | None = None,
) -> TrainResult:
    """Train one stage; resumes from `job.output` when there is a checkpoint of the same job.

    `log` takes the status lines; None prints them. SIGTERM (in the main thread), or `should_stop()` returning True,
    ends the run after the step at hand with a checkpoint. Under torchrun all processes share the batch. `laps`: what
    time went into so far, told with the first step. Raises ValueError for a bad job, data or checkpoint, `Diverged` for
    a loss that is not finite, `OutOfMemory` with the setting to change, `LoaderFailed` when batches stop coming,
    OSError when a checkpoint cannot be written.
    """
    laps = laps or Laps()
    if job.threads:
        torch.set_num_threads(job.threads)
    check_boards(job.boards)
    if job.loader_workers:
        start_server()
    with join_world(job.device) as world, _stop_on_sigterm() as terminated:
        say = (log or partial(print, flush=True)) if world.first else _silent
        index = read_index(job.index)
        samples, held_out = make_samples(job, index, say)
        identity = identify(job, index)
        done = checkpoint.find_resumable(job.output, identity)
        _see_the_same(world, identity, done, job)
        keys = StepBatches.of(job.train, done[0] + 1 if done else 1, job.train.steps, world.rank, world.size)
        # its workers draw the first batches while the networks are built
        loader = Batches(samples, keys, job.loader_workers, world.device, job.loader_timeout_s)
        laps.lap("data")
        with closing(loader), advising_on_memory(job, world.size):
            networks = load_networks(job, samples, done)
            objective = Objective(networks, job)
            spread = partial(shard, objective, world) if job.shard and world.size > 1 else None
            trained, done_step = start(job, networks, done, world.device, spread)
            laps.lap("networks")
            if done is not None:
                say(f"going on from {done[1]}")
            job.output.mkdir(parents=True, exist_ok=True)
            say(f"stage {job.stage} on {world.device} x {world.size}, {job.train.precision}; {samples.describe()}")
            if trained.sharded:
                say(
                    f"weights and moments are spread over {world.size} processes (runtime.shard); there are no previews"
                )
            run = _Run(job, world, samples, held_out, trained, objective, identity, say)
            asked = should_stop or (lambda: False)
            step = run.go(done_step + 1, loader, laps, lambda: terminated() or asked())
    found = tuple(path for _, path in checkpoint.list_checkpoints(job.output))
    return TrainResult(job.stage, step, step >= job.train.steps, found)


@dataclass(frozen=True)
class _Taken:
    """A step that has been taken, and whose numbers may still be on the device."""

    step: int
    found: StepResult
    lr: float
    wait_s: float


class _Run:
    """The steps of one call of `train`."""

    def __init__(
        self,
        job: TrainJob,
        world: World,
        samples: TrainingSamples,
        held_out: TrainingSamples,
        trained: checkpoint.Trained,
        objective: Objective,
        identity: Json,
        log: Callable[[str], None],
    ) -> None:
        self.job, self.world, self.samples, self.held_out = job, world, samples, held_out
        self.trained, self.identity, self.log = trained, identity, log
        self.on_gpu = world.device.type == "cuda"
        self.offloaded = self.on_gpu and not trained.on_gpu
        # offloaded weights never come to the GPU; what validation looks at are then the working weights
        self.objective = objective if trained.sharded else objective.to("cpu" if self.offloaded else world.device)
        self.saver = checkpoint.Saver(background=self.on_gpu)
        self.progress: Progress | None = None
        self.previews: Previews | None = None
        self._unread: list[_Taken] = []
        self._ahead: deque[torch.cuda.Event] = deque()

    def go(self, first_step: int, loader: Iterator[Batch], laps: Laps, should_stop: Callable[[], bool]) -> int:
        """Take the steps from `first_step` on, whose batches `loader` gives; returns the last one taken."""
        job, world = self.job, self.world
        if first_step > job.train.steps:
            return first_step - 1
        if world.first:
            self.progress = Progress(job, first_step, self.log, self.on_gpu)
            if job.previews is not None and self.held_out.windows and not self.trained.sharded:
                self.previews = Previews(job, job.previews, self.held_out, self.log)
        try:
            return self._take_steps(first_step, loader, laps, should_stop)
        finally:
            try:
                self.saver.close()
            finally:
                if self.progress is not None:
                    self.progress.close()

    def _take_steps(self, first_step: int, loader: Iterator[Batch], laps: Laps, should_stop: Callable[[], bool]) -> int:
        job, world, config = self.job, self.world, self.job.train
        rate = matrix_rate(world.device) * world.size if self.on_gpu and world.first else None
        take = make_step(job, self.trained, self.objective, world)
        if self.offloaded and isinstance(take, WorkingStep):
            self.objective = take.objective
            self.log("weights in single precision and their moments stay in the computer's memory (runtime.offload)")
        laps.lap("step made ready")
        for number in range(first_step, config.steps + 1):
            self._take(take, number, loader)
            if number == first_step:
                self._tell_first_step(laps)
                self._look_up_utilisation(rate)
            (stop,) = world.any(should_stop())
            last = number == config.steps
            due = number % config.checkpoint_every == 0 or last
            save = stop or due
            validate_now = save or number % config.validate_every == 0
            # on the CPU numbers are there at once; a GPU would have to be waited for
            if not self.on_gpu or number % job.log_every == 0 or validate_now:
                self._read()
            found = self._validate(number) if validate_now else None
            if save:
                self._save(number, found, due)
            if stop:
                self.saver.wait()
                self.log(f"stopped on request after step {number}; the same command goes on from there")
                return number
        return config.steps

    def _take(self, take: Step, number: int, loader: Iterator[Batch]) -> None:
        """One optimizer step, without waiting for what it finds."""
        config = self.job.train
        torch.manual_seed(_step_seed(config.seed, number, self.world.rank))
        waited: list[float] = []

        def batches() -> Iterator[Batch]:
            for _ in range(config.accumulate):
                begun = time.monotonic()
                batch = next(loader)
                waited.append(time.monotonic() - begun)
                yield batch

        lr = learning_rate(config, number)
        found = take(batches(), lr)
        self._unread.append(_Taken(number, found, lr, sum(waited)))
        if self.on_gpu:
            event = torch.cuda.Event()
            event.record()
            self._ahead.append(event)
            if len(self._ahead) > STEPS_AHEAD:
                self._ahead.popleft().synchronize()

    def _tell_first_step(self, laps: Laps) -> None:
        if self.on_gpu:
            torch.cuda.synchronize(self.world.device)
        laps.lap("kernels and graph" if self.on_gpu else "step", ("waited for data", self._unread[0].wait_s))
        self.log(f"first step after {laps}")

    def _read(self) -> None:
        """Bring the numbers of the steps taken from the device, check them, tell them."""
        taken, self._unread = self._unread, []
        if not taken:
            return
        names = list(taken[0].found.terms)
        mine = torch.stack([torch.stack([*(t.found.terms[n] for n in names), t.found.norm]) for t in taken]).tolist()
        self._check_finite(taken, mine)
        totals = self.world.sum([value for row in mine for value in row[:-1]])
        for number, (step, row) in enumerate(zip(taken, mine, strict=True)):
            sums = totals[number * len(names) : (number + 1) * len(names)]
            terms = {name: total / self.world.size for name, total in zip(names, sums, strict=True)}
            if self.progress is not None:
                self.progress.step(StepRecord(step.step, terms, step.lr, row[-1], step.wait_s))

    def _check_finite(self, taken: list[_Taken], rows: list[list[float]]) -> None:
        """Stop all processes at the first step whose loss or gradient is not finite; who saw it saves its batch."""
        flags = [not all(map(math.isfinite, row)) for row in rows]
        broken = self.world.any(*flags)
        if not any(broken):
            return
        first = broken.index(True)
        number, row = taken[first].step, rows[first]
        value = next((value for value in row if not math.isfinite(value)), math.nan)
        path = self.job.output / f"diverged-step-{number:06d}-rank-{self.world.rank}.safetensors"
        names: list[str] = []
        if flags[first]:
            # a batch is a function of its step: it can be made again
            keys = StepBatches.of(self.job.train, number, number, self.world.rank, self.world.size)
            items = [self.samples[key] for micro in keys for key in micro]
            batch: dict[str, Tensor] = default_collate(items)
            save_file({name: tensor.contiguous() for name, tensor in batch.items()}, path)
            names = self.samples.names(batch)
        raise Diverged(
            f"step {number}: the loss or its gradient is {value}. The batch is saved as {path} (clips "
            f"{', '.join(names) or 'of another process'}); the last checkpoint is from before it. Lower the learning "
            "rate, use precision fp32, or look at these clips"
        )

    def _look_up_utilisation(self, rate: float | None) -> None:
        """Have MFU told where the cards' rate is known, once the work has been counted; nobody waits for that.

        After the first step: Python, which both need, would have that one wait.
        """
        progress = self.progress
        if rate is None or progress is None:
            return
        index, samples = self.samples.index, self.samples
        tokens = samples.reader.latent_file(samples.windows[0].clip).token_shape

        def count() -> None:
            work = sample_work(self.job, index.size, index.factor, samples.latent_channels, (tokens[1], tokens[2]))
            progress.utilisation = Utilisation(work, rate)

        threading.Thread(target=count, daemon=True).start()

    def _validate(self, step: int) -> checkpoint.ValidationResult | None:
        config = self.job.train
        if not self.held_out.windows:
            return None
        micro = max(1, config.batch_size // (config.accumulate * self.world.size))
        items = config.validation_batches * config.batch_size
        found = validate(self.objective, self.held_out, self.trained, self.world, items, micro, step)
        if self.progress is not None:
            self.progress.validation(found)
            self._show(self.progress, step)
        return found

    def _show(self, progress: Progress, step: int) -> None:
        """A preview by the weights that validation looked at."""
        if self.previews is None or not progress.shows_pictures:
            return
        self.trained.swap_in_average()
        try:
            last = step == self.job.train.steps
            picture = self.previews.make(self.objective.networks, self.world.device, last)
        finally:
            self.trained.swap_back()
        if picture is not None:
            progress.preview(step, picture)

    def _save(self, step: int, found: checkpoint.ValidationResult | None, due: bool) -> None:
        job, config = self.job, self.job.train
        if self.offloaded:
            torch.cuda.synchronize(self.world.device)  # the GPU writes the weights where they are read now
        if self.progress is not None:
            self.progress.flush()
            meta = checkpoint.Meta(
                step=step,
                stage=job.stage,
                steps=config.steps,
                samples=step * config.batch_size,
                weights=self.trained.weights,
                identity=self.identity,
                digest=digest_of(self.identity),
                torch=torch.__version__,
                processes=self.world.size,
            )
            self.saver.save(job.output, self.trained, meta, found, config.keep_last if due else None)
            done = "is being saved as" if self.on_gpu else "saved as"  # in the background on a GPU
            self.log(f"step {step}/{config.steps} {done} {checkpoint.checkpoint_path(job.output, step)}")
        else:
            checkpoint.help_to_save(self.trained)
        self.world.wait()


def _see_the_same(world: World, identity: Json, done: tuple[int, Path] | None, job: TrainJob) -> None:
    """ValueError where processes, on other machines maybe, have other data or another checkpoint to go on from."""
    seen = world.gather((digest_of(identity), done[0] if done else 0))
    if len({run for run, _ in seen}) > 1:
        raise ValueError(
            f"the processes have different jobs or data (digests {', '.join(run for run, _ in seen)}): give all nodes "
            f"the same job file, and the files that {job.index} names"
        )
    if len({step for _, step in seen}) > 1:
        raise ValueError(
            f"the processes would go on from different steps ({', '.join(str(step) for _, step in seen)}; 0: from the "
            f"start): {job.output} must be one folder that all nodes see"
        )


def learning_rate(config: TrainStageConfig, step: int) -> float:
    """Learning rate of a step (1-based): linear warm-up, then constant or half a cosine down to 0."""
    if step <= config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    if config.decay == "constant":
        return config.learning_rate
    done = (step - config.warmup_steps - 1) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{rank}".encode()).digest()[:7], "big")


@contextmanager
def _stop_on_sigterm() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether SIGTERM has come; signals reach only the main thread."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _silent(message: str) -> None:
    logger.debug("%s", message)
