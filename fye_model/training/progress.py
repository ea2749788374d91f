"""What a training run tells: one status line now and then, every step in `metrics.jsonl` and on boards."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from fye_model.config import TrainStageConfig
from fye_model.files import write_atomic
from fye_model.training.boards import Boards, Picture
from fye_model.training.checkpoint import ValidationResult
from fye_model.training.job import TrainJob

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class StepRecord:
    """One step as it is told: losses averaged over all processes, and seconds waited for data."""

    step: int
    terms: dict[str, float]
    lr: float
    grad_norm: float
    wait_s: float


@dataclass(frozen=True)
class Utilisation:
    """What MFU is made of: operations of one sample, and operations a second that all cards could do."""

    sample_work: float
    rate: float


class Progress:
    """Writes the record of one run; made anew on resume, it forgets the steps after the checkpoint gone on from."""

    def __init__(
        self,
        job: TrainJob,
        first_step: int,
        log: Callable[[str], None],
        on_gpu: bool,
    ) -> None:
        config = job.train
        self.on_gpu = on_gpu
        self.steps, self.batch, self.every, self.log = config.steps, config.batch_size, job.log_every, log
        self.utilisation: Utilisation | None = None
        self._begun, self._first = time.monotonic(), first_step
        self._since, self._taken, self._wait = time.monotonic(), 0, 0.0
        self.path = job.output / METRICS
        _keep_steps_before(self.path, first_step, config)
        self._file = self.path.open("a", encoding="utf-8")
        self._boards = Boards(job.boards, job.board or job.output / "tensorboard", first_step, job.identity(), log)

    def step(self, record: StepRecord) -> None:
        """Record one step, and say a line about the last ones where it is time to."""
        self._taken += 1
        self._wait += record.wait_s
        self._write(record.step, {**record.terms, "lr": record.lr, "grad_norm": record.grad_norm})
        if record.step % self.every == 0 or record.step == self.steps:
            self._say(record)

    def _say(self, record: StepRecord) -> None:
        now, step = time.monotonic(), record.step
        seconds = max(now - self._since, 1e-9)
        rate, waited = self._taken * self.batch / seconds, self._wait / seconds
        eta = (now - self._begun) / (step - self._first + 1) * (self.steps - step)
        terms = record.terms
        parts = " ".join(f"{name.removeprefix('loss_')} {value:.4f}" for name, value in terms.items() if name != "loss")
        used = (
            ""
            if self.utilisation is None
            else f"MFU {rate * self.utilisation.sample_work / self.utilisation.rate:.0%} "
        )
        self.log(
            f"step {step}/{self.steps} loss {terms['loss']:.4f} ({parts}) lr {record.lr:.2e} grad "
            f"{record.grad_norm:.2f} {rate:.1f} samples/s {used}wait {waited:.0%} "
            f"peak {peak_memory_mib(self.on_gpu):.0f} MiB eta {_clock(eta)}"
        )
        self._boards.write(step, {"speed/samples_per_s": rate, "speed/data_wait": waited})
        self._boards.flush()
        self._since, self._taken, self._wait = now, 0, 0.0

    def validation(self, found: ValidationResult) -> None:
        """Record what validation found at a step."""
        terms = {name: value for name, value in found.model_dump().items() if name.startswith("loss")}
        self._write(found.step, {f"val_{name}": value for name, value in terms.items()})
        self.log(f"step {found.step}/{self.steps} validation loss {found.loss:.4f} on {found.items} held-out samples")

    @property
    def shows_pictures(self) -> bool:
        """Whether a board is left for them."""
        return self._boards.any_left

    def preview(self, step: int, picture: Picture) -> None:
        """Show what the networks make of held-out frames after a step."""
        self._boards.picture(step, picture)

    def flush(self) -> None:
        """Bring the record to disk; called before a checkpoint is made."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
        self._boards.close()

    def _write(self, step: int, values: dict[str, float]) -> None:
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        self._boards.write(step, {f"train/{name}": value for name, value in values.items()})


def peak_memory_mib(on_gpu: bool) -> float:
    """Most memory this process has had: of the GPU where training is on one, of the process otherwise."""
    if on_gpu:
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_metrics(path: Path) -> list[dict[str, float]]:
    """All records of a `metrics.jsonl`; a last line cut short by a kill is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def _keep_steps_before(path: Path, first_step: int, config: TrainStageConfig) -> None:
    """Forget the steps that are taken again, and validations that only a stop had asked for."""
    if not path.is_file():
        return
    kept = [
        record
        for record in read_metrics(path)
        if record["step"] < first_step
        and ("loss" in record or not all(record["step"] % n for n in (config.validate_every, config.checkpoint_every)))
    ]
    write_atomic(path, "".join(json.dumps(record) + "\n" for record in kept).encode())


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
