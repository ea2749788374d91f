"""Checkpoints: `checkpoint-000100/` with the networks, the state to go on from, and a `meta.json` to read.

A checkpoint with its final name is whole. The
networks of every checkpoint stay, for selection; `state.safetensors` (optimizer, EMA) only of the last few.
"""

from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from diffusers.training_utils import EMAModel
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from fye_model.config import Config
from fye_model.files import whole_folder
from fye_model.networks import Networks
from fye_model.networks.bundle import COMPONENTS
from fye_model.training.job import Json, differences
from fye_model.training.records import VALIDATION
from fye_model.training.sharding import share_of, whole

SCHEMA = 1
STATE = "state.safetensors"
META = "meta.json"
REQUESTED = "on_request"  # in a checkpoint that a stop asked for: the next one that was due takes its place
_NAME = re.compile(r"checkpoint-(\d{6,})")


Weights = Literal["raw", "average"]


class Meta(Config):
    """A checkpoint's meta.json. `weights`: what the saved networks are; `identity`: what a resumed run must share."""

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    step: int
    stage: int
    steps: int  # of the whole run
    samples: int  # seen so far
    weights: Weights
    identity: Json
    digest: str
    torch: str
    processes: int


class ValidationResult(Config):
    """Mean loss terms of the first `items` held-out samples after `step`, and which weights were looked at."""

    step: int
    loss: float
    loss_diffusion: float
    loss_expression: float
    loss_face: float
    items: int
    weights: Weights


@dataclass
class Trained:
    """What moves during training: the networks, the parameters that learn (by name), their optimizer and average."""

    networks: Networks
    parameters: dict[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    ema: EMAModel | None

    @property
    def weights(self) -> Weights:
        """Which weights are saved and validated."""
        return "raw" if self.ema is None else "average"

    @property
    def on_gpu(self) -> bool:
        """Whether the weights that learn are on a GPU, and not in the computer's memory."""
        return next(iter(self.parameters.values())).is_cuda

    @property
    def sharded(self) -> bool:
        """Whether each process has a share of every tensor alone."""
        return any(isinstance(parameter, DTensor) for parameter in self.parameters.values())

    def state(self, keep: bool = True) -> dict[str, Tensor]:
        """All that a resumed run needs beside the networks' saved weights, as flat tensors.

        Shares are gathered, for which all processes must call it; who does not `keep` the result has no memory for it.
        """
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer/{key}/{name}"] = value
        if self.ema is not None:
            tensors["ema_steps"] = torch.tensor(self.ema.optimization_step)
            for (name, parameter), average in zip(self.parameters.items(), self.ema.shadow_params, strict=True):
                tensors[f"ema/{name}"] = average
                tensors[f"raw/{name}"] = parameter.detach()  # the saved networks hold the average
        found: dict[str, Tensor] = {}
        for name, value in tensors.items():
            gathered = whole(value.detach())
            if keep:
                found[name] = gathered.cpu().contiguous().clone()
        return found

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Undo `state`; the networks' saved weights are in place already."""
        states: dict[int, dict[str, Tensor]] = {}
        for number, (name, parameter) in enumerate(self.parameters.items()):
            prefix = {key.split("/")[1] for key in tensors if key.startswith("optimizer/") and key.endswith(f"/{name}")}
            states[number] = {key: share_of(tensors[f"optimizer/{key}/{name}"], parameter) for key in sorted(prefix)}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        if self.ema is not None:
            self.ema.optimization_step = int(tensors["ema_steps"])
            for (name, parameter), average in zip(self.parameters.items(), self.ema.shadow_params, strict=True):
                average.copy_(tensors[f"ema/{name}"])
                with torch.no_grad():
                    parameter.copy_(tensors[f"raw/{name}"])

    def step_counts(self) -> list[Tensor]:
        """The optimizer's count of steps, one 0-d tensor a parameter."""
        return [self.optimizer.state[parameter]["step"] for parameter in self.parameters.values()]

    def align(self) -> int:
        """Lay moments and average out as the parameters are, and make moments of zero where there are none yet.

        Returns the number of steps taken. Values stay; a kernel that passes over all of them at once needs it.
        """
        for parameter in self.parameters.values():
            state = self.optimizer.state[parameter]
            state.setdefault("step", torch.zeros((), device=parameter.device))
            for key in ("exp_avg", "exp_avg_sq"):
                laid_out = torch.zeros_like(parameter)
                state[key] = laid_out.copy_(state[key]) if key in state else laid_out
        if self.ema is not None:
            pairs = zip(self.parameters.values(), self.ema.shadow_params, strict=True)
            self.ema.shadow_params = [torch.empty_like(parameter).copy_(average) for parameter, average in pairs]
        counts = self.step_counts()
        return int(counts[0]) if counts else 0

    @torch.no_grad()
    def swap_in_average(self) -> None:
        """Put the averaged weights into the networks, if there are any; `swap_back` undoes it."""
        if self.ema is not None:
            self.ema.store(self.parameters.values())
            self.ema.copy_to(self.parameters.values())

    def swap_back(self) -> None:
        if self.ema is not None:
            self.ema.restore(self.parameters.values())


def checkpoint_path(output: Path, step: int) -> Path:
    return output / f"checkpoint-{step:06d}"


def list_checkpoints(output: Path) -> list[tuple[int, Path]]:
    """(step, folder) of all whole checkpoints, oldest first."""
    if not output.is_dir():
        return []
    found = [(int(match[1]), path) for path in output.iterdir() if (match := _NAME.fullmatch(path.name))]
    return sorted(found)


def read_meta(folder: Path) -> Meta:
    """A checkpoint's meta.json. ValueError when the folder is no checkpoint."""
    try:
        values = json.loads((folder / META).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is not a checkpoint: {META} cannot be read ({error})") from error
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise ValueError(f"{folder / META}: not of checkpoint schema {SCHEMA}; it was written by another version")
    try:
        return Meta.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{folder / META} is damaged ({error.errors()[0]['msg']}); delete {folder}") from error


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds, as it was after one step: the networks to save, and the state to go on from."""

    networks: Networks
    state: dict[str, Tensor]


class Saver:
    """Writes checkpoints: at once, or from a snapshot in the computer's memory while training goes on.

    The next checkpoint waits for the last one. What went wrong in the background is raised by the next call.
    """

    def __init__(self, background: bool) -> None:
        self._pool = ThreadPoolExecutor(1, "checkpoint") if background else None
        self._copy: Networks | None = None
        self._writing: Future[Path] | None = None

    def save(
        self, output: Path, trained: Trained, meta: Meta, validation: ValidationResult | None, keep: int | None
    ) -> None:
        """Save the state at hand; with an average, the networks that are saved are the averaged ones.

        `keep`: as `write_checkpoint`'s `keep_last`.
        """
        self.wait()
        state = trained.state()
        here = self._pool is None and not trained.sharded
        trained.swap_in_average()
        try:
            snapshot = Snapshot(trained.networks if here else self._copied(trained.networks), state)
            if self._pool is None:
                write_checkpoint(output, snapshot, meta, validation, keep)
                return
        finally:
            trained.swap_back()
        self._writing = self._pool.submit(write_checkpoint, output, snapshot, meta, validation, keep)

    def _copied(self, networks: Networks) -> Networks:
        """The networks' weights in the computer's memory, in the same modules each time."""
        if self._copy is None:
            with torch.device("meta"):
                parts = {name: kind.from_config(getattr(networks, name).config) for name, kind in COMPONENTS.items()}
            self._copy = Networks(**parts).to_empty(device="cpu")
        copies = self._copy.state_dict()
        for name, value in networks.state_dict().items():
            copies[name].copy_(whole(value))
        return self._copy

    def wait(self) -> None:
        """Until the last checkpoint is on disk. Raises what writing it raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Wait, and end the thread."""
        try:
            self.wait()
        finally:
            if self._pool is not None:
                self._pool.shutdown()


def help_to_save(trained: Trained) -> None:
    """What other processes do while the first one saves: give their shares of what it gathers, in the same order."""
    if not trained.sharded:
        return
    trained.state(keep=False)
    for value in trained.networks.state_dict().values():
        whole(value)


def write_checkpoint(
    output: Path, snapshot: Snapshot, meta: Meta, validation: ValidationResult | None, keep_last: int | None
) -> Path:
    """Write one checkpoint, complete or not at all, then drop the state of all but the last `keep_last`.

    None: it was not due, but asked for by a stop. For it nothing is dropped, and it goes when the next one is there:
    what is left in the end is the same, however often a run was stopped. OSError (a full disk) leaves the earlier
    checkpoints as they were, and says which is the last.
    """
    output.mkdir(parents=True, exist_ok=True)
    clear_unfinished(output)
    final = checkpoint_path(output, meta.step)
    try:
        with whole_folder(final) as temporary:
            snapshot.networks.save(temporary)
            save_file(snapshot.state, temporary / STATE)
            _write_json(temporary / META, meta)
            if keep_last is None:
                (temporary / REQUESTED).touch()
            if validation is not None:
                _write_json(temporary / VALIDATION, validation)
    # safetensors reports a full disk as an error of its own
    except (OSError, SafetensorError) as error:
        existing = [path for _, path in list_checkpoints(output) if (path / STATE).is_file()]
        kept = f"it goes on from {existing[-1].name}" if existing else "it begins anew, there is no earlier checkpoint"
        raise OSError(
            f"checkpoint of step {meta.step} could not be written to {output}: {error}. "
            f"Free space there and start the same command again: {kept}"
        ) from error
    if keep_last is None:
        return final
    for _, path in list_checkpoints(output):
        if (path / REQUESTED).exists():
            shutil.rmtree(path)
    with_state = [path for _, path in list_checkpoints(output) if (path / STATE).is_file()]
    for path in with_state[:-keep_last]:
        (path / STATE).unlink()
    return final


def find_resumable(output: Path, identity: Json) -> tuple[int, Path] | None:
    """The newest checkpoint to go on from, or None when there is none.

    ValueError when it is of the other stage, of another configuration or of other data: nothing is overwritten.
    """
    for step, path in reversed(list_checkpoints(output)):
        if not (path / STATE).is_file():
            continue
        meta = read_meta(path)
        theirs = meta.identity
        if theirs.get("stage") != identity["stage"]:
            raise ValueError(
                f"{path} is of training stage {theirs.get('stage')}, this run is stage {identity['stage']}: "
                "use an output folder of its own for each stage"
            )
        if changed := differences(identity, theirs):
            raise ValueError(
                f"{path} was trained with another configuration: {'; '.join(changed)}. "
                "Go on with that configuration, or start in another output folder"
            )
        return step, path
    return None


def load_state_file(folder: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint's state; ValueError when the file is damaged."""
    try:
        return load_file(folder / STATE)
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{folder / STATE} is damaged ({error}); delete {folder} to go on from the checkpoint before it"
        ) from error


def clear_unfinished(output: Path) -> None:
    """Remove what a killed run left half-written, also of steps that will not be saved again."""
    for path in output.glob(".checkpoint-*.part"):
        shutil.rmtree(path, ignore_errors=True)


def _write_json(path: Path, values: Config) -> None:
    text = json.dumps(values.model_dump(mode="json", by_alias=True), indent=2, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
