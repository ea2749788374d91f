"""What one training run is asked to do, as a JSON file that a launcher can hand to another process or machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, ValidationError, model_validator

from fye_model.config import (
    Config,
    CoveringConfig,
    LandmarkImageConfig,
    LossConfig,
    NetworkConfig,
    NoiseConfig,
    Runtime,
    TrainStageConfig,
)
from fye_model.files import json_digest, write_json
from fye_model.processes import usable_cpus
from fye_model.runtime import BoardName

Json = dict[str, JsonValue]
MOST_LOADER_WORKERS = 8  # of one training process: more have nothing left to do

# Settings of a stage that may differ between the two halves of a resumed run: they change what is kept or how fast it
# goes, not the weights.
NOT_IN_IDENTITY = {"checkpoint_every", "keep_last", "validate_every", "validation_batches", "gradient_checkpointing"}


class TrainJob(Config):
    """One stage of training. Paths are taken as they are; `init` is what stage 2 starts from (stage 1's choice)."""

    stage: Literal[1, 2]
    index: Path  # index.json of the data set
    output: Path  # checkpoints, metrics.jsonl; what is there already is resumed
    init: Path | None = None  # of stage 1, for stage 2, which needs one; of any, for stage 1
    networks: NetworkConfig = NetworkConfig()
    noise: NoiseConfig = NoiseConfig()
    train: TrainStageConfig
    loss: LossConfig = LossConfig()
    covering: CoveringConfig = CoveringConfig()
    landmark_image: LandmarkImageConfig = LandmarkImageConfig()
    # speed and reporting only
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    loader_workers: Annotated[int, Field(ge=0)] = 0
    loader_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    threads: Annotated[int, Field(ge=0)] = 0
    cuda_graph: bool = True
    offload: bool | None = None  # see `Runtime`
    shard: bool = False  # see `Runtime`
    log_every: Annotated[int, Field(gt=0)] = 10
    boards: tuple[BoardName, ...] = ("tensorboard",)
    board: Path | None = None  # folder for boards, whose files tell their time; None: in `output`
    previews: Path | None = None  # the autoencoder that shows held-out frames on the boards; None: no previews

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.stage == 2 and self.init is None:
            raise ValueError("stage 2 starts from a checkpoint of stage 1: give its folder as `init`")
        if self.stage == 2 and self.train.frames > self.networks.motion_max_frames:
            raise ValueError(
                f"train.stage2.frames is {self.train.frames}, but the motion modules take at most "
                f"networks.motion_max_frames = {self.networks.motion_max_frames}"
            )
        if self.offload and (self.train.working_weights != "bf16" or self.train.ema_decay):
            raise ValueError(
                f"runtime.offload needs train.stage{self.stage}.working_weights bf16 and ema_decay 0, which are "
                f"{self.train.working_weights} and {self.train.ema_decay}: set them so, or runtime.offload to false"
            )
        if self.shard and (self.train.working_weights == "bf16" or self.train.ema_decay):
            raise ValueError(
                f"runtime.shard needs train.stage{self.stage}.working_weights fp32 and ema_decay 0, which are "
                f"{self.train.working_weights} and {self.train.ema_decay}: set them so, or runtime.shard to false"
            )
        return self

    def identity(self) -> Json:
        """Everything of the job that decides the weights; what a resumed run must have in common with its start."""
        drop = set(NOT_IN_IDENTITY)
        if self.train.decay == "constant":
            drop.add("steps")  # a run may be made longer
        if self.train.working_weights == "fp32":
            drop.add("working_weights")  # as it was before there was a choice
        values: Json = self.model_dump(
            mode="json",
            include={"stage", "networks", "noise", "train", "loss", "covering", "landmark_image"},
            exclude={"train": drop},
        )
        for key in ("unet", "motion_modules"):  # the file counts, not where it lies
            path = getattr(self.networks, key)
            values["networks"][key] = path.name if path else None  # type: ignore[index, call-overload]  # a table
        return values

    def write(self, path: Path) -> None:
        """Save as JSON."""
        write_json(path, self.model_dump(mode="json"), indent=2)


def choose_loader_workers(runtime: Runtime, on_gpu: bool, cpus: int | None = None) -> tuple[int, str]:
    """How many processes of its own each training process loads data with, and why.

    What the runtime says; else, on the CPU, none, as they would take the cores that training computes on; on GPUs,
    each training process's share of the CPUs (`cpus`, None: those that this process may use) less the one that it runs
    on itself, between 1 and 8. The batches are the same, however many there are.
    """
    if runtime.loader_workers is not None:
        return runtime.loader_workers, "as asked for"
    if not on_gpu:
        return 0, "training computes on the CPUs itself"
    cpus = usable_cpus() if cpus is None else cpus
    number = min(MOST_LOADER_WORKERS, max(1, cpus // runtime.processes - 1))
    return number, f"{cpus} CPUs for {runtime.processes} training process{'es' if runtime.processes > 1 else ''}"


def read_job(path: str | Path) -> TrainJob:
    """Read a job file. ValueError that names the file and each key that is wrong."""
    try:
        return TrainJob.model_validate_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"training job {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, p['loc'])) or 'job'}: {p['msg']}" for p in error.errors()]
        raise ValueError(f"training job {path}: {'; '.join(lines)}") from error


def launch_command(job_file: Path, launcher: str = "inproc", processes: int = 1) -> list[str]:
    """The command line that runs a job in a process of its own, or in `processes` of them under torchrun."""
    arguments = ["-m", "fye_model.training", "--job", str(job_file)]
    if launcher == "inproc" and processes == 1:
        return [sys.executable, *arguments]
    # without a place for logs it makes an empty folder in the temporary one and leaves it there; all lines come through
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--log-dir={os.devnull}"]
    return [sys.executable, *torchrun, f"--nproc-per-node={processes}", *arguments]


def digest_of(values: Json) -> str:
    """Short hash of JSON values."""
    return json_digest(values)[:16]


def differences(ours: JsonValue, theirs: JsonValue, path: str = "") -> list[str]:
    """The keys at which two nested dicts differ, each with both values."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = []
        for key in sorted(set(ours) | set(theirs)):
            found += differences(ours.get(key), theirs.get(key), f"{path}.{key}" if path else key)
        return found
    return [] if ours == theirs else [f"{path} is {theirs!r} there and {ours!r} here"]
