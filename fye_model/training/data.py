"""Training samples as a pure function of (seed, step, item): the same batches on resume, and for any number of workers.

Nothing is shuffled and no position is kept. Each sample draws its clip, frames, reference, noise, timestep, covering
and dropout from a generator of its own, so the batch of a step is known without those before it, and the global batch
does not depend on how many processes share it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from fye_model.config import CoveringConfig, TrainStageConfig
from fye_model.landmarks.drawing import Variant, draw_landmarks
from fye_model.training.clips import ClipReader
from fye_model.training.covering import draw_covered
from fye_model.training.index import ClipEntry, TrainingIndex

logger = logging.getLogger(__name__)

Part = Literal["train", "val"]
GOLDEN_RATIO = 0.6180339887498949
_PART_KEYS: dict[Part, int] = {"train": 0, "val": 1}


@dataclass(frozen=True)
class Windows:
    """What may be drawn from one clip: first frames of whole valid windows, and rows of usable references."""

    clip: ClipEntry
    starts: np.ndarray  # (n,) int64
    references: np.ndarray  # (r,) frame numbers
    rows: np.ndarray  # (r,) their rows in image_tokens


class TrainingSamples(Dataset[dict[str, Tensor]]):
    """Samples of one part (`train` or `val`) of a data set for one training stage.

    `samples[step, item]` is a dict: latents, noise (c, f, h, w) float32; timestep () int64; landmarks (3, f, H, W)
    uint8; expression_mask, face_mask (f, h, w); reference_latent (c, h, w); image_tokens (n, d); covered (f,) bool;
    unconditional () bool; clip () index into `windows`; frames (f,) and reference () frame numbers.

    Subjects are drawn equally often, and within a subject every window equally often. Invalid frames are neither
    targets nor references. ValueError when no clip of the training part has a usable window.
    """

    def __init__(
        self,
        index: TrainingIndex,
        config: TrainStageConfig,
        covering: CoveringConfig | None,
        train_timesteps: int,
        variant: Variant = "expression_aware",
        part: Part = "train",
    ) -> None:
        self.index = index
        self.config = config
        self.covering = covering
        self.train_timesteps = train_timesteps
        self.variant: Variant = variant
        self.part: Part = part
        self.reader = ClipReader(index, variant)
        self.windows = [found for clip in index.clips if (found := self._windows(clip)) is not None]
        if not self.windows and part == "train":
            raise ValueError(self._nothing_usable())
        shapes = {self.reader.latent_file(w.clip).shape[1:] for w in self.windows}
        tokens = {self.reader.latent_file(w.clip).token_shape[1:] for w in self.windows}
        if len(shapes) > 1 or len(tokens) > 1:
            raise ValueError(f"clips have latents of different shapes {sorted(shapes)} or tokens {sorted(tokens)}")
        subjects: dict[str, list[int]] = {}
        for number, window in enumerate(self.windows):
            subjects.setdefault(window.clip.subject, []).append(number)
        self._subjects = [np.array(numbers) for _, numbers in sorted(subjects.items())]
        self._ends = [np.cumsum([len(self.windows[n].starts) for n in numbers]) for numbers in self._subjects]

    def __len__(self) -> int:
        return self.config.steps * self.config.batch_size

    @property
    def latent_channels(self) -> int:
        return self.reader.latent_file(self.windows[0].clip).shape[1]

    @property
    def image_encoder_dim(self) -> int:
        return self.reader.latent_file(self.windows[0].clip).token_shape[2]

    def describe(self) -> str:
        """One line: how many subjects, clips and windows can be drawn."""
        windows = sum(len(window.starts) for window in self.windows)
        return f"{self.part}: {len(self._subjects)} subjects, {len(self.windows)} clips, {windows} windows"

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        item = key[1]
        random = self._random(key)
        number, start = self._draw_window(random)
        window = self.windows[number]
        frames = start + self.config.frame_stride * np.arange(self.config.frames)
        far_enough = np.flatnonzero(_distance(window.references, frames) >= self.config.min_reference_distance)
        choice = int(random.choice(far_enough))
        reference, row = int(window.references[choice]), int(window.rows[choice])
        timestep = int(random.integers(self.train_timesteps))
        unconditional = bool(random.random() < self.config.condition_dropout)
        if self.part == "val":
            # always with the reference, and timesteps spread evenly however many items are looked at
            timestep, unconditional = int((item + 0.5) * GOLDEN_RATIO % 1 * self.train_timesteps), False
        covered = np.ones(len(frames), dtype=bool)
        if self.covering is not None:
            covered = draw_covered(len(frames), self.covering, random)

        clip = window.clip
        file = self.reader.latent_file(clip)
        latents = file.latents(frames).transpose(0, 1)
        expression, face = self.reader.masks(clip)
        size = self.index.size
        drawn = draw_landmarks(self.reader.points(clip)[frames], size, size, self.variant)
        return {
            "latents": latents.contiguous(),
            "noise": torch.from_numpy(random.standard_normal(latents.shape, dtype=np.float32)),
            "timestep": torch.tensor(timestep),
            "landmarks": torch.from_numpy(np.ascontiguousarray(drawn.transpose(3, 0, 1, 2))),
            "expression_mask": torch.from_numpy(expression[frames].astype(np.float32)),
            "face_mask": torch.from_numpy(face[frames].astype(np.float32)),
            "reference_latent": file.latents(np.array([reference]))[0],
            "image_tokens": file.tokens(row),
            "covered": torch.from_numpy(covered),
            "unconditional": torch.tensor(unconditional),
            "clip": torch.tensor(number),
            "frames": torch.from_numpy(frames),
            "reference": torch.tensor(reference),
        }

    def _random(self, key: tuple[int, int]) -> np.random.Generator:
        """What a sample is drawn with."""
        return np.random.Generator(np.random.Philox([self.config.seed, _PART_KEYS[self.part], *key]))

    def _draw_window(self, random: np.random.Generator) -> tuple[int, int]:
        """A clip, by its number in `windows`, and the first frame; reads no file."""
        subject = random.integers(len(self._subjects))
        ends = self._ends[subject]
        position = random.integers(ends[-1])
        which = int(np.searchsorted(ends, position, side="right"))
        number = int(self._subjects[subject][which])
        return number, int(self.windows[number].starts[position - (ends[which - 1] if which else 0)])

    def place(self, key: tuple[int, int]) -> str:
        """Which clip and first frame a sample is drawn from, for messages; reads no file."""
        number, start = self._draw_window(self._random(key))
        return f"{self.windows[number].clip.name}@{start}"

    def names(self, batch: dict[str, Tensor]) -> list[str]:
        """Which clips and first frames a batch was drawn from, for messages."""
        pairs = zip(batch["clip"].tolist(), batch["frames"][:, 0].tolist(), strict=True)
        return [f"{self.windows[number].clip.name}@{first}" for number, first in pairs]

    def _windows(self, clip: ClipEntry) -> Windows | None:
        """All windows of a clip's span; None, with a message, when there is none. ValueError for an unusable file."""
        first, end = clip.train if self.part == "train" else clip.val
        if first == end:
            return None
        for path in (clip.landmarks, clip.masks, clip.latents):
            if not path.is_file():
                raise ValueError(f"clip {clip.name}: no file {path}; run the stage that writes {path.name} again")
        valid = self.reader.landmarks(clip).valid
        file = self.reader.latent_file(clip)
        side = self.index.latent_size
        if file.shape[0] != clip.frames or file.shape[2:] != (side, side):
            raise ValueError(
                f"clip {clip.name}: latents of shape {file.shape} in {clip.latents}, "
                f"expected ({clip.frames}, channels, {side}, {side}); run the latent stage again"
            )
        reach = self.config.frame_stride * (self.config.frames - 1) + 1
        starts = np.arange(first, max(first, end - reach + 1))
        offsets = self.config.frame_stride * np.arange(self.config.frames)
        starts = starts[valid[starts[:, None] + offsets].all(axis=1)] if len(starts) else starts
        usable = valid[file.reference_frames]
        inside = usable & (file.reference_frames >= first) & (file.reference_frames < end)
        # a short held-out span may hold no candidate: its clip's other frames show the same face and are no targets
        rows = np.flatnonzero(inside if inside.any() or self.part == "train" else usable)
        references = file.reference_frames[rows]
        if len(starts):
            nearest = np.abs(references[None, :, None] - (starts[:, None, None] + offsets)).min(axis=2)
            starts = starts[(nearest >= self.config.min_reference_distance).any(axis=1)]
        if len(starts):
            return Windows(clip, starts, references, rows)
        logger.warning(
            "clip %s left out of %s: no %d valid frames at stride %d in [%d, %d) with a reference %d frames away",
            *(clip.name, self.part, self.config.frames, self.config.frame_stride, first, end),
            self.config.min_reference_distance,
        )
        return None

    def _nothing_usable(self) -> str:
        config = self.config
        reach = config.frame_stride * (config.frames - 1) + 1
        return (
            f"no clip to train on: none of the {len(self.index.clips)} clips in the training index has a train span of "
            f"{reach} frames of which the {config.frames} drawn are valid, and a valid reference frame at least "
            f"{config.min_reference_distance} frames away. Add longer clips, or lower frames, frame_stride or "
            "min_reference_distance of this training stage"
        )


def _distance(references: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """(r,) frames between each reference and the nearest of the targets."""
    nearest: np.ndarray = np.abs(references[:, None] - frames[None]).min(axis=1)
    return nearest


class StepBatches(Sampler[list[tuple[int, int]]]):
    """Keys of the micro-batches that one process takes, from `first_step` up to `steps` (1-based, both included).

    Of a step's `batch_size` items, micro-batch m of process `rank` takes a run of batch_size / (world * accumulate)
    from (m * world + rank) times that on. ValueError when that is no whole number.
    """

    def __init__(self, first_step: int, steps: int, batch_size: int, accumulate: int, rank: int, world: int) -> None:
        if batch_size % (accumulate * world):
            raise ValueError(
                f"batch_size {batch_size} cannot be shared by {world} processes with {accumulate} micro-batches each: "
                f"make it a multiple of {accumulate * world}"
            )
        self.steps = range(first_step, steps + 1)
        self.micro = batch_size // (accumulate * world)
        self.firsts = [(m * world + rank) * self.micro for m in range(accumulate)]

    @classmethod
    def of(cls, config: TrainStageConfig, first_step: int, steps: int, rank: int, world: int) -> StepBatches:
        """As a stage's settings have it."""
        return cls(first_step, steps, config.batch_size, config.accumulate, rank, world)

    def __len__(self) -> int:
        return len(self.steps) * len(self.firsts)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in self.steps:
            for first in self.firsts:
                yield [(step, item) for item in range(first, first + self.micro)]
