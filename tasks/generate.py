"""A model makes the videos of a bench: each driver's landmarks once, then one video a pair. Two stages.

What `fye animate --paste-back` does, pair by pair, so that a result covers its portrait pixel by pixel. The noise is
drawn from the same seed for every pair and the CPU computes on one thread, so that no digit depends on the number of
workers.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fye_model.animation.description import need_description
from fye_model.config import Config, Recipe, SamplingConfig
from fye_model.devices import choose_device
from fye_model.landmarks.table import write_landmarks
from fye_model.processes import one_thread
from tasks.bench.inputs import bench_file
from tasks.bench.manifest import Bench
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import NOTHING, Given, Item, Nothing, Outcome, Quarantine, Worker
from tasks.engine.stage import Context, Stage
from tasks.engine.store import FileRef, Store
from tasks.faces.driver import read_driver
from tasks.faces.landmarker import LANDMARK_TOOLS
from tasks.faces.worker import FaceWorker
from tasks.jobs.animate import AnimateRequest, animate, load_for_animation
from tasks.workspace.dataset import folder_inputs

if TYPE_CHECKING:  # the networks are slow to import
    from fye_model.animation.pipeline import FollowYourEmojiPipeline

logger = logging.getLogger(__name__)


class DriverFacts(Config):
    """max_gap_frames: gaps in the landmarks up to this long are filled, as the model's training did."""

    max_gap_frames: int


class DriverRow(Config):
    """How many frames a driver has, and how many were filled in."""

    frames: int
    interpolated: int


class DriverWorker(FaceWorker[DriverFacts, DriverRow]):
    """Writes a driving video's landmark table, as animation reads it."""

    def __init__(self, settings: Nothing, context: Context) -> None:
        super().__init__(context)

    def process(self, item: Given[DriverFacts]) -> DriverRow:
        """Landmarks of every frame of `driving`. Raises `Quarantine` (no_driver) where it shows no face."""
        try:
            driver = read_driver(item.files["driving"], self.landmarker, self.asset, item.facts.max_gap_frames)
        except ValueError as error:
            raise Quarantine("no_driver", str(error)) from error
        found = driver.landmarks
        write_landmarks(found, item.out / "landmarks.parquet")
        return DriverRow(frames=len(found), interpolated=int(found.interpolated.sum()))


DRIVERS = Stage(
    "bench_drivers",
    "2",
    settings=lambda recipe: Nothing(),
    reads={"driving": Kind.DRIVING},
    writes={"landmarks.parquet": Kind.LANDMARKS},
    row=DriverRow,
    open=DriverWorker,
    resources=Resources(memory_gib=1.5),
    tools=(*LANDMARK_TOOLS, "av"),
    uses_landmarker=True,
)


class GenerateRow(Config):
    """What was made. aligned: the portrait's face was found; held: frames that repeat a neighbour's face."""

    frames: int
    aligned: bool
    held: int


class GenerateWorker(Worker[Nothing, GenerateRow]):
    """Writes result.mp4 of one pair after another; the model is loaded once."""

    def __init__(self, settings: SamplingConfig, context: Context) -> None:
        self.sampling, self.context = settings, context
        self._threads = contextlib.ExitStack()
        self._loaded: tuple[Path, FollowYourEmojiPipeline] | None = None

    def __enter__(self) -> Self:
        if not choose_device(self.context.device).is_cuda:
            self._threads.enter_context(one_thread())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loaded = None
        self._threads.close()

    def process(self, item: Given[Nothing]) -> GenerateRow:
        """`portrait` performs `landmarks` with the networks of `model/…`. Raises `Quarantine` where it cannot."""
        request = AnimateRequest(
            portrait=item.files["portrait"],
            driving=item.files["landmarks"],
            model=item.folder("model"),
            output=item.out / "result.mp4",
            paste_back=True,
            transfer=None,
            sampling=self.sampling,
            device=self.context.device,
        )
        try:
            made = animate(request, self.context.landmarker, logger.debug, self._pipeline(request.model))
        except ValueError as error:
            raise Quarantine("not_animated", str(error)) from error
        return GenerateRow(frames=made.frames, aligned=made.aligned, held=made.driver_held)

    def _pipeline(self, model: Path) -> FollowYourEmojiPipeline:
        if self._loaded is None or self._loaded[0] != model:
            self._loaded = model, load_for_animation(model, choose_device(self.context.device), logger.info)
        return self._loaded[1]


def _sampling(recipe: Recipe) -> SamplingConfig:
    return recipe.sampling


GENERATE = Stage(
    "bench_generate",
    "6",
    settings=_sampling,
    reads={"portrait": Kind.PORTRAIT, "landmarks": Kind.LANDMARKS, "model/*": Kind.MODEL},
    writes={"result.mp4": Kind.RESULT},
    row=GenerateRow,
    open=GenerateWorker,
    resources=Resources(gpus=1, memory_gib=6),
    tools=(*LANDMARK_TOOLS, "torch", "diffusers", "av"),
    uses_landmarker=True,
)


def driver_items(bench: Bench, max_gap_frames: int) -> list[Item[DriverFacts]]:
    """A bench's driving videos, to be read with gaps of so many frames filled."""
    facts = DriverFacts(max_gap_frames=max_gap_frames)
    return [Item(row.id, row.id, {"driving": bench_file(bench, row.file)}, facts) for row in bench.driving]


def gap_frames_of(model: Path) -> int:
    """The gaps that a model's training filled in its own clips, and which are filled in what drives it."""
    return need_description(model).max_gap_frames


def generate_items(
    store: Store, bench: Bench, model: Path, drivers: Mapping[str, Outcome[DriverRow]]
) -> list[Item[Nothing]]:
    """A bench's pairs, to be made by a model folder. drivers: what DRIVERS made, by the driving video's id."""
    return pair_items(bench, drivers, folder_inputs(store, model, "model"))


def pair_items(
    bench: Bench, drivers: Mapping[str, Outcome[DriverRow]], more: Mapping[str, FileRef] | None = None
) -> list[Item[Nothing]]:
    """A bench's pairs, to be made of portrait, the driver's landmarks, and what else a method reads of every pair."""
    return [
        Item(
            pair.name,
            pair.name,
            {
                "portrait": bench_file(bench, bench.portrait(pair).file),
                "landmarks": drivers[pair.driving].ref("landmarks.parquet"),
                **(more or {}),
            },
            NOTHING,
        )
        for pair in bench.pairs
    ]
