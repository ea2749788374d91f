"""The two training stages: an index of the data, a training process of its own, and its checkpoints as output.

Training resumes by itself in the stage's folder, so a run that was killed goes on at its last checkpoint. The process
dies with this one: an orphan would go on writing where the next run works.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from fye_model.config import Config, LossConfig, Runtime
from fye_model.processes import die_with_parent
from tasks.engine.items import StageResult, Worker
from tasks.engine.stage import Stage
from tasks.engine.store import FileRef
from tasks.faces.landmarker import LandmarkerAsset
from tasks.workspace.dataset import write_index

RESTARTS = 2  # of a training process that was killed, not of one that ended with an error
STOP_S = 120.0  # for a checkpoint, when this process is told to stop
_CHECKPOINT = re.compile(r"checkpoint-\d+")
_TORCHRUN_EXIT = re.compile(r"\bexitcode\s*: (-?\d+)\b")
logger = logging.getLogger(__name__)


class TrainingFailed(ValueError):
    """The training process ended with an error."""


class TrainWorker(Worker):
    """Runs one training stage to its end. `configs` are the parts of the recipe that its result depends on."""

    number: Literal[1, 2]

    def __init__(self, landmarker: LandmarkerAsset, runtime: Runtime, **configs: Config) -> None:
        self.landmarker, self.runtime, self.configs = landmarker, runtime, configs

    def process(self, files: dict[str, Path], params: dict[str, Any], out: Path) -> dict[str, Any]:
        """Train on `clips/…`; stage 2 starts from the checkpoint in `init/…`.

        Leaves checkpoints and metrics.jsonl in `out`; the row names them and the one with the lowest validation loss.
        """
        from fye_model.training.job import TrainJob, launch_command

        work = out.parent / f"{out.name}.job"
        work.mkdir(exist_ok=True)
        index = open_index(files, params, self.landmarker, work / "index.json")
        init = files["init/meta.json"].parent if self.number == 2 else None
        job = TrainJob(
            stage=self.number,
            index=index,
            output=out,
            init=init,
            device=self.runtime.device,
            loader_workers=self.runtime.loader_workers,
            threads=self.runtime.threads,
            **self.configs,  # type: ignore[arg-type]
        )
        job.write(work / "job.json")
        supervise(launch_command(work / "job.json", self.runtime.launcher, self.runtime.processes))
        shutil.rmtree(work)
        return describe_checkpoints(out)


class Stage1Worker(TrainWorker):
    """Appearance net, spatial layers, landmark encoder and image prompt, on single frames."""

    number = 1


class Stage2Worker(TrainWorker):
    """Temporal layers and covered-latent input, on clips of frames."""

    number = 2


_TOOLS = ("torch", "diffusers")
STAGE1 = Stage("train_stage1", "1", Stage1Worker, False, True, _TOOLS, ("landmarker", "runtime"))
STAGE2 = Stage("train_stage2", "1", Stage2Worker, False, True, _TOOLS, ("landmarker", "runtime"))


def open_index(files: dict[str, Path], params: dict[str, Any], landmarker: LandmarkerAsset, path: Path) -> Path:
    """Write the index that training, selection and evaluation read, from a whole stage's inputs."""
    return write_index(
        path,
        files,
        params["clips"],
        landmark_model=params["landmark_model"],
        size=params["size"],
        factor=params["factor"],
        fps=params["fps"],
        geometry=str(landmarker.path) if landmarker.has_matrix else "mean_mesh",
    )


def supervise(command: list[str]) -> None:
    """Run a training process, pass its lines on to the log, and take it along when this process stops.

    A process that a signal killed (memory, a lost machine) is started again up to `RESTARTS` times and resumes; so is
    a torchrun one of whose processes was killed. Raises TrainingFailed with its error, or else its last lines, when it
    ends with an error; with what to do when it is killed again and again.
    """
    for restart in range(RESTARTS + 1):
        code, tail = _run(command)
        if code == 0:
            return
        said = [line.removeprefix("error: ") for line in tail if line.startswith("error: ")]
        killer = None if said else _killed_by(code, tail)
        if killer is None:
            raise TrainingFailed(said[-1] if said else f"training ended with exit code {code}:\n" + "\n".join(tail))
        if restart < RESTARTS:
            logger.warning("training was killed by %s; it is started again and resumes", killer)
    raise TrainingFailed(
        f"training was killed by {killer} {RESTARTS + 1} times. Too little memory is the usual reason (the system's "
        "log tells, see dmesg): raise accumulate of train.stage1 or train.stage2, which splits a step into smaller "
        "parts, set gradient_checkpointing=true there, or lower batch_size, frames or clips.size. What is finished is "
        "kept; the same command goes on at the last checkpoint. Its last lines:\n" + "\n".join(tail)
    )


def _killed_by(code: int, tail: list[str]) -> str | None:
    """The signal that killed a training process, by name, or None when it ended by itself.

    torchrun ends with 1 whatever became of its processes, and lists how each of them ended, the first to end last.
    """
    listed = [int(found[1]) for line in tail if (found := _TORCHRUN_EXIT.search(line))]
    number = -(code if code < 0 or not listed else listed[-1])
    if number <= 0:
        return None
    known = {one.value: one.name for one in signal.Signals}
    return f"signal {number} ({known[number]})" if number in known else f"signal {number}"


def _run(command: list[str]) -> tuple[int, list[str]]:
    """Exit code (negative: the signal's number) and last lines of a command, which never outlives this process."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with _told_to_stop():
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            preexec_fn=die_with_parent,
            start_new_session=True,  # Ctrl-C reaches it through us, once
        )
        tail: list[str] = []
        try:
            assert process.stdout is not None
            for line in process.stdout:
                logger.info("%s", line.rstrip())
                tail = [*tail[-39:], line.rstrip()]
            return process.wait(), tail
        except BaseException:
            process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=STOP_S)  # reads on: who cannot write does not end
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise


@contextmanager
def _told_to_stop() -> Iterator[None]:
    """SIGTERM ends the block as an exception does, unless somebody (a Prefect flow) sees to that already."""
    in_charge = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )

    def stop(number: int, frame: object) -> None:
        sys.exit(128 + number)

    if in_charge:
        signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if in_charge:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def describe_checkpoints(out: Path) -> dict[str, Any]:
    """Names of the checkpoints in the order they were made, and the one with the lowest validation loss."""
    names = sorted(path.name for path in out.iterdir() if _CHECKPOINT.fullmatch(path.name))
    losses = {name: json.loads((out / name / "validation.json").read_text())["loss"] for name in names}
    return {"checkpoints": names, "validation_loss": losses, "best": min(names, key=lambda name: (losses[name], name))}


def best_checkpoint(trained: StageResult, name: str) -> dict[str, FileRef]:
    """The files of the checkpoint with the lowest validation loss, as `<name>/…`."""
    best = trained.only.row["best"]
    return {f"{name}/{file.split('/', 1)[1]}": ref for file, ref in _weights(trained, best).items()}


def first_checkpoint(trained: StageResult) -> dict[str, FileRef]:
    """The files of the first checkpoint, as `checkpoints/<stage>/<checkpoint>/…`."""
    return _numbered(trained, trained.only.row["checkpoints"][:1])


def all_checkpoints(trained: StageResult) -> dict[str, FileRef]:
    """The files of every checkpoint, as `checkpoints/<stage>/<checkpoint>/…`."""
    return _numbered(trained, trained.only.row["checkpoints"])


def _numbered(trained: StageResult, names: list[str]) -> dict[str, FileRef]:
    found = {file: ref for name in names for file, ref in _weights(trained, name).items()}
    return {f"checkpoints/{trained.stage}/{file}": ref for file, ref in found.items()}


def _weights(trained: StageResult, checkpoint: str) -> dict[str, FileRef]:
    """A checkpoint's files without what only a resumed run needs."""
    files = trained.only.refs(f"{checkpoint}/")
    return {file: ref for file, ref in files.items() if not file.endswith("/state.safetensors")}


# Only the stage's own settings count, so that a change of stage 2 leaves stage 1 cached.
def stage_configs(train: Any, number: Literal[1, 2]) -> dict[str, Config]:
    """The parts of `Recipe.train` that a stage's result depends on, by the job's field names."""
    loss: LossConfig = train.loss
    shared = {"loss": loss, "landmark_image": train.landmark_image}
    return (
        {**shared, "train": train.stage1}
        if number == 1
        else {**shared, "train": train.stage2, "covering": train.covering}
    )
