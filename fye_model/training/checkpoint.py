"""Checkpoints: `checkpoint-000100/` with the networks, the state to go on from, and a `meta.json` to read.

A checkpoint is written under a hidden name, flushed to disk and renamed, so that one with its final name is whole. The
networks of every checkpoint stay, for selection; `state.safetensors` (optimizer, EMA) only of the last few.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fye_model.networks import Networks
from fye_model.training.job import differences

SCHEMA = 1
STATE = "state.safetensors"
META = "meta.json"
VALIDATION = "validation.json"
_NAME = re.compile(r"checkpoint-(\d{6,})")


@dataclass
class Trained:
    """What moves during training: the networks, the parameters that learn (by name), their optimizer and average."""

    networks: Networks
    parameters: dict[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    ema: EMAModel | None

    def state(self) -> dict[str, Tensor]:
        """All that a resumed run needs beside the networks' saved weights, as flat tensors."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer/{key}/{name}"] = value
        if self.ema is not None:
            tensors["ema_steps"] = torch.tensor(self.ema.optimization_step)
            for (name, parameter), average in zip(self.parameters.items(), self.ema.shadow_params, strict=True):
                tensors[f"ema/{name}"] = average
                tensors[f"raw/{name}"] = parameter.detach()  # the saved networks hold the average
        return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Undo `state`; the networks' saved weights are in place already."""
        states: dict[int, dict[str, Tensor]] = {}
        for number, name in enumerate(self.parameters):
            prefix = {key.split("/")[1] for key in tensors if key.startswith("optimizer/") and key.endswith(f"/{name}")}
            states[number] = {key: tensors[f"optimizer/{key}/{name}"] for key in sorted(prefix)}
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


def read_meta(folder: Path) -> dict[str, Any]:
    """A checkpoint's meta.json. ValueError when the folder is no checkpoint."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is not a checkpoint: {META} cannot be read ({error})") from error
    if not isinstance(meta, dict) or meta.get("schema") != SCHEMA:
        raise ValueError(f"{folder / META}: not of checkpoint schema {SCHEMA}; it was written by another version")
    return meta


def save_checkpoint(
    output: Path, step: int, trained: Trained, meta: dict[str, Any], validation: dict[str, Any] | None, keep_last: int
) -> Path:
    """Write one checkpoint, then drop the state of all but the last `keep_last`.

    With an average, the networks that are saved are the averaged ones. OSError (a full disk) leaves the earlier
    checkpoints as they were, and says which is the last.
    """
    output.mkdir(parents=True, exist_ok=True)
    clear_unfinished(output)
    final, temporary = checkpoint_path(output, step), output / f".checkpoint-{step:06d}.unfinished"
    try:
        trained.swap_in_average()
        try:
            trained.networks.save(temporary)
        finally:
            trained.swap_back()
        save_file(trained.state(), temporary / STATE)
        _write_json(temporary / META, {"schema": SCHEMA, "step": step, **meta})
        if validation is not None:
            _write_json(temporary / VALIDATION, validation)
        _flush(temporary)
        if final.exists():
            shutil.rmtree(final)
        os.replace(temporary, final)
        _flush_folder(output)
    # safetensors reports a full disk as an error of its own
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        existing = [path for _, path in list_checkpoints(output) if (path / STATE).is_file()]
        kept = f"it goes on from {existing[-1].name}" if existing else "it begins anew, there is no earlier checkpoint"
        raise OSError(
            f"checkpoint of step {step} could not be written to {output}: {error}. "
            f"Free space there and start the same command again: {kept}"
        ) from error
    with_state = [path for _, path in list_checkpoints(output) if (path / STATE).is_file()]
    for path in with_state[:-keep_last]:
        (path / STATE).unlink()
    return final


def find_resumable(output: Path, identity: dict[str, Any]) -> tuple[int, Path] | None:
    """The newest checkpoint to go on from, or None when there is none.

    ValueError when it is of the other stage, of another configuration or of other data: nothing is overwritten.
    """
    for step, path in reversed(list_checkpoints(output)):
        if not (path / STATE).is_file():
            continue
        meta = read_meta(path)
        theirs = meta.get("identity", {})
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
    """Remove what a killed run left half-written."""
    for path in output.glob(".checkpoint-*.unfinished"):
        shutil.rmtree(path, ignore_errors=True)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _flush(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            _flush_folder(path)
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
