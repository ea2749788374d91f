"""Where a run's curves and previews go: TensorBoard, and Weights & Biases or MLflow for those who have them.

All curves are in `metrics.jsonl` too. Nothing leaves the machine unless the package's own variables say so
(`WANDB_MODE=online`, `MLFLOW_TRACKING_URI`). What a board is told changes no weights, and a board that fails is left
out: training does not end for it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from fye_model.files import write_atomic
from fye_model.runtime import BoardName
from fye_model.training.job import Json

PROJECT = "follow-your-emoji"
PACKAGES: dict[BoardName, str] = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow-skinny"}
_MOST = 500  # values that MLflow takes at a time


def check_boards(names: Iterable[BoardName]) -> None:
    """ValueError for a board whose package is not installed; without TensorBoard, which is the default, runs go on."""
    for name in names:
        if name != "tensorboard" and importlib.util.find_spec(name) is None:
            raise ValueError(
                f"runtime.boards names {name}, but its package is not installed: pip install {PACKAGES[name]}, or take "
                f"{name} out of runtime.boards"
            )


@dataclass(frozen=True)
class Picture:
    """A picture as the bytes of its file; `kind` gif: one that moves."""

    name: str
    data: bytes
    kind: Literal["png", "gif"]
    width: int
    height: int


class Board(Protocol):
    """Takes values and pictures of steps."""

    def write(self, step: int, values: dict[str, float]) -> None: ...

    def picture(self, step: int, picture: Picture) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in a folder; steps that are taken again replace those of before."""

    def __init__(self, folder: Path, first_step: int, settings: Json) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(log_dir=str(folder), purge_step=first_step)

    def write(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, picture: Picture) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        # by hand: TensorBoard's own ways to add pictures decode them, and want moviepy for those that move
        image = Summary.Image(
            height=picture.height, width=picture.width, colorspace=3, encoded_image_string=picture.data
        )
        summary = Summary(value=[Summary.Value(tag=picture.name, image=image)])
        self._writer.file_writer.add_summary(summary, step)

    def flush(self) -> None:
        pass  # its own thread does

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """A run of Weights & Biases, offline unless `WANDB_MODE` says otherwise; a resumed training goes on in it.

    `wandb sync` sends an offline run. Steps that are taken again are left as they were first told.
    """

    def __init__(self, folder: Path, first_step: int, settings: Json) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # to its makers; read when it is imported
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16],
            resume="allow",
            dir=str(folder),
            mode=os.environ.get("WANDB_MODE", "offline"),
            config=settings,
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )

    def write(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def picture(self, step: int, picture: Picture) -> None:
        import wandb

        place = self._folder / f"{picture.name}-{step:06d}.{picture.kind}"
        write_atomic(place, picture.data)
        shown = wandb.Image(str(place)) if picture.kind == "png" else wandb.Video(str(place), format="gif")
        self._run.log({picture.name: shown}, step=step)

    def flush(self) -> None:
        pass  # its own process does

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of MLflow, in a folder unless `MLFLOW_TRACKING_URI` says otherwise; a resumed training goes on in it."""

    def __init__(self, folder: Path, first_step: int, settings: Json) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # to its makers; read when it is imported
        from mlflow.tracking import MlflowClient

        folder.mkdir(parents=True, exist_ok=True)
        place = os.environ.get("MLFLOW_TRACKING_URI")
        if place is None:  # files need no database beside them, and have to be asked for
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            place = (folder / "mlruns").resolve().as_uri()
        self._client: Any = MlflowClient(place)
        self._waiting: list[Any] = []
        kept = folder / "run_id"
        if not kept.is_file():
            experiment = self._client.get_experiment_by_name(PROJECT)
            number = self._client.create_experiment(PROJECT) if experiment is None else experiment.experiment_id
            run = self._client.create_run(number, run_name=folder.parent.name)
            for name, value in settings.items():
                self._client.log_param(run.info.run_id, name, str(value)[:500])
            write_atomic(kept, run.info.run_id.encode())
        self._id = kept.read_text()
        self._client.update_run(self._id, status="RUNNING")

    def write(self, step: int, values: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting += [Metric(name, value, now, step) for name, value in values.items()]

    def picture(self, step: int, picture: Picture) -> None:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / f"{step:06d}.{picture.kind}"
            place.write_bytes(picture.data)
            self._client.log_artifact(self._id, str(place), picture.name)

    def flush(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            self._client.log_batch(self._id, metrics=some)

    def close(self) -> None:
        self.flush()
        self._client.set_terminated(self._id)


_KINDS: dict[BoardName, Callable[[Path, int, Json], Board]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "mlflow": MLflow,
}


class Boards:
    """All boards of a run. TensorBoard's files lie in `folder`, the others' in folders of it."""

    def __init__(
        self, names: Iterable[BoardName], folder: Path, first_step: int, settings: Json, log: Callable[[str], None]
    ) -> None:
        self._log = log
        self._boards: dict[BoardName, Board] = {}
        for name in names:
            place = folder if name == "tensorboard" else folder / name
            self._try(name, partial(self._open, name, place, first_step, settings))

    @property
    def any_left(self) -> bool:
        """Whether there is a board that takes what it is told."""
        return bool(self._boards)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Tell a step's values, by their names."""
        for name, board in list(self._boards.items()):
            self._try(name, partial(board.write, step, values))

    def picture(self, step: int, picture: Picture) -> None:
        """Show a picture that belongs to a step."""
        for name, board in list(self._boards.items()):
            self._try(name, partial(board.picture, step, picture))

    def flush(self) -> None:
        """Send what waits; called now and then, for sending may take its time."""
        for name, board in list(self._boards.items()):
            self._try(name, board.flush)

    def close(self) -> None:
        for name, board in list(self._boards.items()):
            self._try(name, board.close)

    def _open(self, name: BoardName, place: Path, first_step: int, settings: Json) -> None:
        self._boards[name] = _KINDS[name](place, first_step, settings)

    def _try(self, name: BoardName, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as error:  # whatever a board's package or server has: no reason to lose a training run
            self._boards.pop(name, None)
            install = f"; pip install {PACKAGES[name]}" if isinstance(error, ImportError) else ""
            self._log(f"{name} is left out ({error}{install}): all curves are in metrics.jsonl")
