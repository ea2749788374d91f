"""How a run works, not what it computes: none of this is in a cache key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fye_model.settings import Config, Positive

BoardName = Literal["tensorboard", "wandb", "mlflow"]


class Runtime(Config):
    """Settings that change how fast a run goes and what it prints, never what it computes."""

    workers: Annotated[int, Field(ge=0)] = 2  # Ray actors for per-clip stages; 0: in this process, without Ray
    item_timeout_s: Annotated[float, Field(gt=0)] = 600.0  # a clip that takes longer is killed and retried
    item_attempts: Positive = 3  # then quarantined
    device: Literal["auto", "cpu", "cuda"] = "auto"
    launcher: Literal["inproc", "torchrun"] = "inproc"
    processes: Positive = 1  # GPUs; more than one always under torchrun
    share_gpu: bool = False  # true: compute on a GPU beside other runs, instead of waiting until it is free
    # clips are encoded while others still wait for their landmarks; None: where a GPU encodes, which else would stand
    # idle; true: on the CPU too; false: no stage begins before the one before it has ended
    ahead: bool | None = None
    loader_workers: Annotated[int, Field(ge=0)] | None = None  # of each training process; None: by device and CPUs
    loader_timeout_s: Annotated[float, Field(gt=0)] = 600.0  # a batch that is longer in coming never comes
    threads: Annotated[int, Field(ge=0)] = 0  # torch threads of training; 0: torch's default
    # weights in single precision and their moments stay in the computer's memory, where bf16 working weights train on a
    # GPU; None: where they would take most of the card's
    offload: bool | None = None
    # weights, gradients and moments are spread over the GPUs, instead of every one having all of them; slower
    shard: bool = False
    cuda_graph: bool = True  # training with bf16 working weights on a GPU replays its step; false: kernel by kernel
    boards: tuple[BoardName, ...] = ("tensorboard",)  # what training's curves go to
    previews: bool = True  # held-out frames sampled while training, shown there too; hardly more than 4% of its time
    assets: Path | None = None  # folder with face_landmarker.task; FYE_ASSETS otherwise
