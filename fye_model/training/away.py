"""`python -m fye_model.training.away PACK OUTPUT`: from packed clips to a model folder and its reenactments.

The training half of a retrain for a machine that has only this library. Encoders, latents, both stages, the checkpoint
with the lowest validation loss as a model folder, and the held-out clips reenacted by it, for the machine that has the
landmark model to score. A step that is finished is not done again; a step that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from fye_model.animation.description import Crop, ModelDescription
from fye_model.animation.folder import FrozenParts, assemble_pipeline, load_pipeline, save_model
from fye_model.config import Runtime
from fye_model.devices import choose_device
from fye_model.evaluation.reenact import reenact
from fye_model.files import file_digest, folder_digest, write_atomic, write_json
from fye_model.landmarks.table import read_landmarks
from fye_model.pictures import read_pictures, write_pictures
from fye_model.processes import die_with_parent
from fye_model.training import pack
from fye_model.training.checkpoint import list_checkpoints
from fye_model.training.encoders import IMAGE_ENCODER, VAE, FitClip, make_encoders
from fye_model.training.index import SCHEMA, ClipEntry, TrainingIndex
from fye_model.training.job import TrainJob, choose_loader_workers, launch_command
from fye_model.training.latents import LatentEncoder, candidate_references, write_jittered, write_latents
from fye_model.training.pack import REENACTED, Pack, PackedClip, Reenacted, read_pack
from fye_model.training.records import JITTERED, LATENTS_FILE, of_crop, validation_loss

Log = Callable[[str], None]


class Stopped(Exception):
    """Training was asked to stop, and did, with a checkpoint."""


class Away:
    """One pack trained into one output folder."""

    def __init__(self, folder: Path, output: Path, device: str, processes: int, log: Log) -> None:
        self.folder, self.output, self.log, self.processes = folder, output, log, processes
        self.pack: Pack = read_pack(folder)
        self.recipe = self.pack.recipe
        place = choose_device(device)
        self.device = place.name
        log(f"device: {place}")

    def run(self) -> Path:
        """Do what is not done yet; returns the model folder. Raises ValueError for an output of another pack."""
        self._claim()
        self._step("encoders", self._make_encoders)
        self._step("latents", self._encode)
        index = self._write_index()
        stage1 = self._train(1, index, None)
        stage2 = self._train(2, index, stage1)
        model = self.output / "model"
        self._step("model", lambda: self._save(stage2, model))
        self._step(REENACTED, lambda: self._reenact(model))
        return model

    @property
    def encoders(self) -> Path:
        return self.output / "encoders"

    def _claim(self) -> None:
        """Bind the output to this pack: what is finished there was made of it, and is not looked at again."""
        self.output.mkdir(parents=True, exist_ok=True)
        mine, claimed = file_digest(self.folder / pack.PACK), self.output / "pack.sha256"
        if not claimed.exists():
            write_atomic(claimed, mine.encode())
        elif claimed.read_text() != mine:
            raise ValueError(
                f"{self.output} was begun with another pack, or another recipe in it; give an output folder that is "
                "not there yet, or the pack that it was begun with"
            )

    def _step(self, name: str, work: Callable[[], None]) -> None:
        """Do `work` unless its marker says that it is done."""
        marker = self.output / f"{name}.done"
        if marker.is_file():
            self.log(f"{name}: done already")
            return
        begun = time.monotonic()
        work()
        write_atomic(marker, b"")
        self.log(f"{name}: {time.monotonic() - begun:.1f} s")

    def _clip(self, clip: PackedClip, name: str) -> Path:
        return self.folder / "clips" / clip.clip / name

    def _make_encoders(self) -> None:
        clips = [
            FitClip(clip.subject, clip.train, self._clip(clip, pack.LANDMARKS), partial(self._frames, clip))
            for clip in self.pack.clips
        ]
        recipe = self.recipe
        make_encoders(self.encoders, recipe.autoencoder, recipe.image_encoder, clips, self.device, self.log)

    def _frames(self, clip: PackedClip, numbers: Sequence[int]) -> np.ndarray:
        return read_pictures(self._clip(clip, pack.FRAMES))[list(numbers)]

    def _encode(self) -> None:
        config = self.recipe.latents
        parts = (self.encoders / VAE, self.encoders / IMAGE_ENCODER)
        encoder = LatentEncoder(*parts, device=self.device, half=config.precision == "fp16")
        for clip in self.pack.clips:
            out = self.output / "latents" / clip.clip
            out.mkdir(parents=True, exist_ok=True)
            frames, sequence = (
                read_pictures(self._clip(clip, pack.FRAMES)),
                read_landmarks(self._clip(clip, pack.LANDMARKS)),
            )
            references = candidate_references(sequence.valid, config.references)
            write_latents(out / LATENTS_FILE, encoder, frames, references, config)
            write_jittered(out, encoder, frames, sequence, config, self.recipe.landmarks.expression_radius)

    def _write_index(self) -> Path:
        """The training index of the pack's clips and their other crops."""
        entries = []
        for clip in self.pack.clips:
            latents = self.output / "latents" / clip.clip
            files = {"landmarks": self._clip(clip, pack.LANDMARKS), "masks": self._clip(clip, pack.MASKS)}
            entries.append(_entry(clip.model_dump(), files, latents))
            for number in range(1, self.recipe.latents.jitter.crops + 1):
                folder = latents / f"{JITTERED}{number}"
                files = {"landmarks": folder / pack.LANDMARKS, "masks": folder / pack.MASKS}
                entries.append(_entry(clip.model_dump() | of_crop(clip.clip, clip.name, number), files, folder))
        geometry = self.pack.geometry
        header = self.pack.model_dump(include={"landmark_model", "size", "factor", "fps"})
        place = geometry if geometry == pack.MEAN_MESH else str((self.folder / geometry).resolve())
        index = TrainingIndex.model_validate({"schema": SCHEMA, **header, "geometry": place, "clips": entries})
        path = self.output / "index.json"
        write_json(path, index.model_dump(mode="json", by_alias=True))
        return path

    def _train(self, number: int, index: Path, init: Path | None) -> Path:
        """Train one stage to its end; returns its checkpoint with the lowest validation loss."""
        recipe = self.recipe
        runtime = Runtime(processes=self.processes)
        loaders, why = choose_loader_workers(runtime, self.device.startswith("cuda"))
        self.log(f"loader workers of each training process: {loaders} ({why})")
        output = self.output / f"stage{number}"
        job = TrainJob(
            stage=1 if number == 1 else 2,
            index=index,
            output=output,
            init=init,
            networks=recipe.networks,
            noise=recipe.noise,
            train=recipe.train.stage1 if number == 1 else recipe.train.stage2,
            loss=recipe.train.loss,
            covering=recipe.train.covering,
            landmark_image=recipe.train.landmark_image,
            device=self.device if self.processes == 1 else "cuda",
            loader_workers=loaders,
            previews=self.encoders / VAE,
        )
        file = self.output / f"stage{number}.job.json"
        job.write(file)
        command = launch_command(file, "inproc" if self.processes == 1 else "torchrun", self.processes)
        self._step(output.name, lambda: _in_a_process(command))
        losses = {path: validation_loss(path) for _, path in list_checkpoints(output)}
        best = min(losses, key=lambda path: (losses[path], path.name))
        self.log(f"stage {number}: {best.name} has the lowest validation loss, {losses[best]:.4f}")
        return best

    def _save(self, checkpoint: Path, model: Path) -> None:
        parts = FrozenParts(self.encoders / VAE, self.encoders / IMAGE_ENCODER, self.recipe.noise)
        description = ModelDescription(
            checkpoint=f"{checkpoint.parent.name}/{checkpoint.name}",
            landmark_model=self.pack.landmark_model,
            landmark_variant=self.recipe.train.landmark_image.variant,
            size=self.pack.size,
            fps=self.pack.fps,
            crop=Crop(margin=self.recipe.clips.margin, faces=self.pack.faces),
            max_gap_frames=self.recipe.landmarks.max_gap_frames,
            sampling=self.recipe.sampling,
            poses=self.pack.poses,
            mouths=self.pack.mouths,
            people=len({clip.subject for clip in self.pack.clips if clip.train[0] < clip.train[1]}) or None,
        )
        save_model(assemble_pipeline(checkpoint, parts, "cpu"), model, description)

    def _reenact(self, model: Path) -> None:
        pipeline, folder = load_pipeline(model, self.device), self.output / REENACTED
        folder.mkdir(exist_ok=True)
        for name in self.pack.reenactments:
            source = self.folder / pack.REENACTMENTS / name
            reference = read_pictures(source / pack.REFERENCE)[0]
            drawn = read_pictures(source / pack.DRAWN)
            made = reenact(pipeline, reference, drawn, drawn, self.recipe.sampling)
            write_pictures(folder / f"{name}.parquet", made.result, quality=None)
        recipe = self.recipe
        Reenacted(model=folder_digest(model), sampling=recipe.sampling, evaluation=recipe.evaluation).write(folder)


def _in_a_process(command: list[str]) -> None:
    """Train in a process of its own, and pass SIGTERM on. Raises `Stopped` where it stopped with a checkpoint."""
    process = subprocess.Popen(command, preexec_fn=die_with_parent)
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        code = process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    if code == 128 + signal.SIGTERM:
        raise Stopped
    if code:
        raise ValueError(f"training ended with exit code {code}; its last lines say why")


def _entry(record: dict[str, object], files: dict[str, Path], latents: Path) -> ClipEntry:
    """An index entry; its paths are absolute: it belongs to one output."""
    paths = {name: path.resolve() for name, path in {**files, "latents": latents / LATENTS_FILE}.items()}
    return ClipEntry.model_validate(record | paths)


def main() -> int:
    """Exit status: 0 done, 143 stopped by SIGTERM with a checkpoint, 1 with a message otherwise."""
    parser = argparse.ArgumentParser(prog="python -m fye_model.training.away", description=__doc__.split("\n")[0])
    parser.add_argument("pack", type=Path, help="folder that `fye pack` wrote")
    parser.add_argument("output", type=Path, help="folder for what is made; what is there already is kept")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--processes", type=int, default=1, help="GPUs to train on")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    say = logging.getLogger(__name__).info
    try:
        model = Away(arguments.pack, arguments.output, arguments.device, arguments.processes, say).run()
    except Stopped:
        return 143
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    say(f"model: {model}")
    return 0


if __name__ == "__main__":  # loader workers import this file again
    sys.exit(main())
