"""The two training stages: an index of the data, a training process of its own, and its checkpoints as output.

Training resumes by itself in the stage's folder, so a run that was killed goes on at its last checkpoint. The process
dies with this one: an orphan would go on writing where the next run works.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from fye_model.config import (
    Config,
    CoveringConfig,
    LandmarkImageConfig,
    LossConfig,
    NetworkConfig,
    NoiseConfig,
    Recipe,
    TrainStageConfig,
)
from fye_model.processes import die_with_parent
from fye_model.training.records import validation_loss
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, StageResult, Worker
from tasks.engine.progress import counted
from tasks.engine.stage import Context, Stage
from tasks.engine.store import FileRef
from tasks.faces.landmarker import geometry_source
from tasks.workspace.dataset import ClipSet, write_index

RESTARTS = 2  # of a training process that was killed, not of one that ended with an error
STOP_S = 120.0  # for a checkpoint, when this process is told to stop
_CHECKPOINT = re.compile(r"checkpoint-\d+")
_TORCHRUN_EXIT = re.compile(r"\bexitcode\s*: (-?\d+)\b")
logger = logging.getLogger(__name__)


class TrainingFailed(ValueError):
    """The training process ended with an error."""


class TrainSettings(Config):
    """The parts of a recipe that a training stage's result depends on. `covering` is of stage 2 alone."""

    train: TrainStageConfig
    networks: NetworkConfig
    noise: NoiseConfig
    loss: LossConfig
    landmark_image: LandmarkImageConfig
    covering: CoveringConfig | None = None


class TrainRow(Config):
    """The checkpoints in the order they were made, their validation losses, and the one with the lowest."""

    checkpoints: tuple[str, ...]
    validation_loss: dict[str, float]
    best: str


class TrainWorker(Worker[ClipSet, TrainRow]):
    """Runs one training stage to its end."""

    number: Literal[1, 2]

    def __init__(self, settings: TrainSettings, context: Context) -> None:
        self.settings, self.context = settings, context

    def process(self, item: Given[ClipSet]) -> TrainRow:
        """Train on `clips/…`, from the checkpoint `init/…` where one is given. Leaves checkpoints and metrics.jsonl."""
        from fye_model.training.job import TrainJob, choose_loader_workers, launch_command

        work = item.out.parent / f"{item.out.name}.job"
        work.mkdir(exist_ok=True)
        asset, runtime, settings = self.context.landmarker, self.context.runtime, self.settings
        loaders, why = choose_loader_workers(runtime, self.context.device.startswith("cuda"))
        board = item.out.parent / f"{item.out.name}.tensorboard"
        logger.info("curves while it trains: tensorboard --logdir %s", board)
        logger.info("loader workers of each training process: %d (%s)", loaders, why)
        job = TrainJob(
            stage=self.number,
            index=write_index(work / "index.json", item.files, item.facts, geometry_source(asset)),
            output=item.out,
            init=item.folder("init") if any(name.startswith("init/") for name in item.files) else None,
            networks=settings.networks,
            noise=settings.noise,
            train=settings.train,
            loss=settings.loss,
            covering=settings.covering or CoveringConfig(),
            landmark_image=settings.landmark_image,
            device=self.context.device,
            loader_workers=loaders,
            loader_timeout_s=runtime.loader_timeout_s,
            threads=runtime.threads,
            cuda_graph=runtime.cuda_graph,
            offload=runtime.offload,
            shard=runtime.shard,
            boards=runtime.boards,
            board=board,
            previews=item.folder("vae") if any(name.startswith("vae/") for name in item.files) else None,
        )
        job.write(work / "job.json")
        supervise(launch_command(work / "job.json", runtime.launcher, runtime.processes))
        shutil.rmtree(work)
        return describe_checkpoints(item.out)


class Stage1Worker(TrainWorker):
    """Appearance net, spatial layers, landmark encoder and image prompt, on single frames."""

    number = 1


class Stage2Worker(TrainWorker):
    """Temporal layers and covered-latent input, on clips of frames."""

    number = 2


def _settings(number: Literal[1, 2]) -> Callable[[Recipe], TrainSettings]:
    """Only the stage's own settings count, so that a change of stage 2 leaves stage 1 cached."""

    def of(recipe: Recipe) -> TrainSettings:
        return TrainSettings(
            train=recipe.train.stage1 if number == 1 else recipe.train.stage2,
            networks=recipe.networks,
            noise=recipe.noise,
            loss=recipe.train.loss,
            landmark_image=recipe.train.landmark_image,
            covering=None if number == 1 else recipe.train.covering,
        )

    return of


_READS = {
    "clips/*/landmarks": Kind.LANDMARKS,
    "clips/*/masks": Kind.MASKS,
    "clips/*/latents": Kind.LATENTS,
}
# earlier versions left TensorBoard's files among the outputs; what they made stays good
_WRITES = {"checkpoint-*/*": Kind.CHECKPOINT, "metrics.jsonl": Kind.CURVE, "tensorboard/*?": Kind.CURVE}
_BESIDE = {"vae/*?": Kind.AUTOENCODER}  # previews are decoded by it
STAGE1 = Stage(
    "train_stage1",
    "1",
    settings=_settings(1),
    reads={**_READS, "init/*?": Kind.EARLIER},
    writes=_WRITES,
    row=TrainRow,
    open=Stage1Worker,
    resources=Resources(gpus=1, memory_gib=8, pooled=False),
    resumable=True,
    tools=("torch", "diffusers"),
    uses_landmarker=True,
    beside=_BESIDE,
)
STAGE2 = Stage(
    "train_stage2",
    "1",
    settings=_settings(2),
    reads={**_READS, "init/*": Kind.CHECKPOINT},
    writes=_WRITES,
    row=TrainRow,
    open=Stage2Worker,
    resources=Resources(gpus=1, memory_gib=8, pooled=False),
    resumable=True,
    tools=("torch", "diffusers"),
    uses_landmarker=True,
    beside=_BESIDE,
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
        say = counted(logger.info)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                say(line.rstrip())
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


def describe_checkpoints(out: Path) -> TrainRow:
    """What training left in its folder. ValueError where it left no checkpoint, or one that was not validated."""
    names = sorted(path.name for path in out.iterdir() if _CHECKPOINT.fullmatch(path.name))
    if not names:
        raise ValueError(f"training wrote no checkpoint into {out}; see its log")
    losses = {name: validation_loss(out / name) for name in names}
    best = min(names, key=lambda name: (losses[name], name))
    return TrainRow(checkpoints=tuple(names), validation_loss=losses, best=best)


def best_checkpoint(trained: StageResult[TrainRow], name: str) -> dict[str, FileRef]:
    """The files of the checkpoint with the lowest validation loss, as `<name>/…`."""
    return checkpoint_files(trained, trained.only.row.best, name)


def checkpoint_files(trained: StageResult[TrainRow], checkpoint: str, name: str) -> dict[str, FileRef]:
    """The files of a checkpoint, as `<name>/…`."""
    return {f"{name}/{file.split('/', 1)[1]}": ref for file, ref in _weights(trained, checkpoint).items()}


def first_checkpoint(trained: StageResult[TrainRow]) -> dict[str, FileRef]:
    """The files of the first checkpoint, as `checkpoints/<stage>/<checkpoint>/…`."""
    return _numbered(trained, trained.only.row.checkpoints[:1])


def all_checkpoints(trained: StageResult[TrainRow]) -> dict[str, FileRef]:
    """The files of every checkpoint, as `checkpoints/<stage>/<checkpoint>/…`."""
    return _numbered(trained, trained.only.row.checkpoints)


def _numbered(trained: StageResult[TrainRow], names: Sequence[str]) -> dict[str, FileRef]:
    found = {file: ref for name in names for file, ref in _weights(trained, name).items()}
    return {f"checkpoints/{trained.stage}/{file}": ref for file, ref in found.items()}


def _weights(trained: StageResult[TrainRow], checkpoint: str) -> dict[str, FileRef]:
    """A checkpoint's files without what only a resumed run needs."""
    files = trained.only.refs(f"{checkpoint}/")
    return {file: ref for file, ref in files.items() if not file.endswith("/state.safetensors")}
