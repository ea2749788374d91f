"""What a training run tells: one status line now and then, every step in `metrics.jsonl` and TensorBoard."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fye_model.files import write_atomic

METRICS = "metrics.jsonl"


class Progress:
    """Writes the record of one run; made anew on resume, it forgets the steps after the checkpoint gone on from."""

    def __init__(self, output: Path, first_step: int, steps: int, every: int, log: Callable[[str], None]) -> None:
        self.steps, self.every, self.log = steps, every, log
        self._begun, self._first = time.monotonic(), first_step
        self._since, self._samples, self._wait = time.monotonic(), 0, 0.0
        self.path = output / METRICS
        _keep_steps_before(self.path, first_step)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = _tensorboard(output, first_step, log)

    def step(
        self, step: int, terms: dict[str, float], lr: float, grad_norm: float, samples: int, wait_s: float
    ) -> None:
        """Record one step: losses, learning rate, gradient norm, samples taken and seconds waited for data."""
        self._samples += samples
        self._wait += wait_s
        self._write({"step": step, **terms, "lr": lr, "grad_norm": grad_norm})
        if step % self.every and step != self.steps:
            return
        now = time.monotonic()
        seconds = max(now - self._since, 1e-9)
        rate, waited = self._samples / seconds, self._wait / seconds
        eta = (now - self._begun) / (step - self._first + 1) * (self.steps - step)
        parts = " ".join(f"{name.removeprefix('loss_')} {value:.4f}" for name, value in terms.items() if name != "loss")
        self.log(
            f"step {step}/{self.steps} loss {terms['loss']:.4f} ({parts}) lr {lr:.2e} grad {grad_norm:.2f} "
            f"{rate:.1f} samples/s wait {waited:.0%} peak {peak_memory_mib():.0f} MiB eta {_clock(eta)}"
        )
        if self._board is not None:
            self._board.add_scalar("speed/samples_per_s", rate, step)
            self._board.add_scalar("speed/data_wait", waited, step)
        self._since, self._samples, self._wait = now, 0, 0.0

    def validation(self, step: int, values: dict[str, Any]) -> None:
        """Record what validation found at a step."""
        self._write({"step": step, **{f"val_{k}": v for k, v in values.items() if k.startswith("loss")}})
        self.log(f"step {step}/{self.steps} validation loss {values['loss']:.4f} on {values['items']} held-out samples")

    def flush(self) -> None:
        """Bring the record to disk; called before a checkpoint is made."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def _write(self, values: dict[str, Any]) -> None:
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                if name != "step":
                    self._board.add_scalar(f"train/{name}", value, values["step"])


def peak_memory_mib() -> float:
    """Most memory this process has had: of the GPU when there is one, of the process otherwise."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All records of a `metrics.jsonl`; a last line cut short by a kill is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def _keep_steps_before(path: Path, first_step: int) -> None:
    if not path.is_file():
        return
    kept = [record for record in read_metrics(path) if record["step"] < first_step]
    write_atomic(path, "".join(json.dumps(record) + "\n" for record in kept).encode())


def _tensorboard(output: Path, first_step: int, log: Callable[[str], None]) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log(f"tensorboard is not installed: curves are in {METRICS} only (pip install tensorboard)")
        return None
    return SummaryWriter(log_dir=str(output / "tensorboard"), purge_step=first_step)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
