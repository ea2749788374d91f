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
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from fye_model.animation.description import Crop, ModelDescription
from fye_model.animation.folder import FrozenParts, assemble_pipeline, load_pipeline, save_model
from fye_model.config import Config, Runtime
from fye_model.devices import choose_device
from fye_model.evaluation.reenact import reenact
from fye_model.files import folder_digest, json_digest, write_json
from fye_model.landmarks.table import read_landmarks
from fye_model.networks.autoencoder import load_autoencoder
from fye_model.networks.image_encoder import load_image_encoder
from fye_model.pictures import read_pictures, write_pictures
from fye_model.processes import die_with_parent
from fye_model.training import pack
from fye_model.training.checkpoint import list_checkpoints
from fye_model.training.job import TrainJob, choose_loader_workers, launch_command
from fye_model.training.pack import REENACTED, Pack, PackedClip, Reenacted, read_pack
from fye_model.training.records import JITTERED, LATENTS_FILE, validation_loss

MOST_FIT_FRAMES = 4000  # over all clips; neighbouring frames are nearly alike
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
        """Do what is not done yet; returns the model folder."""
        self.output.mkdir(parents=True, exist_ok=True)
        recipe = self.recipe
        self._step("encoders", [self.pack.content, recipe.autoencoder, recipe.image_encoder], self._fit_encoders)
        self._step("latents", [recipe.latents, recipe.landmarks, folder_digest(self.encoders)], self._encode)
        index = self._write_index()
        stage1 = self._train(1, index, None)
        stage2 = self._train(2, index, stage1)
        model = self.output / "model"
        chosen = f"{stage2.parent.name}/{stage2.name}"
        self._step("model", [chosen, folder_digest(stage2)], lambda: self._save(stage2, chosen, model))
        terms: list[Config | str] = [recipe.sampling, recipe.evaluation, folder_digest(model)]
        self._step(REENACTED, terms, lambda: self._reenact(model))
        return model

    @property
    def encoders(self) -> Path:
        return self.output / "encoders"

    def _step(self, name: str, depends: Sequence[Config | str], work: Callable[[], None]) -> None:
        """Do `work` unless its marker says that it was done with the same settings and inputs."""
        values = [value.model_dump(mode="json") if isinstance(value, Config) else value for value in depends]
        key, marker = json_digest([name, values]), self.output / f"{name}.done.json"
        if marker.is_file() and marker.read_text() == f'"{key}"\n':
            self.log(f"{name}: done already")
            return
        begun = time.monotonic()
        work()
        write_json(marker, key)
        self.log(f"{name}: {time.monotonic() - begun:.1f} s")

    def _clip(self, clip: PackedClip, name: str) -> Path:
        return self.folder / "clips" / clip.clip / name

    def _fit_encoders(self) -> None:
        from fye_model.training.autoencoder import expression_pixels, fit_autoencoder

        load_image_encoder(self.recipe.image_encoder).save(self.encoders / "image_encoder")
        if self.recipe.autoencoder.path is not None:
            load_autoencoder(self.recipe.autoencoder.path).save_pretrained(self.encoders / "vae")
            return
        clips = [clip for clip in self.pack.clips if clip.train[1] > clip.train[0]]
        stride = -(-sum(clip.train[1] - clip.train[0] for clip in clips) // MOST_FIT_FRAMES) or 1
        chosen = [slice(*clip.train, stride) for clip in clips]
        frames = [read_pictures(self._clip(c, pack.FRAMES))[s] for c, s in zip(clips, chosen, strict=True)]
        points = [read_landmarks(self._clip(c, pack.LANDMARKS)).pixels()[s] for c, s in zip(clips, chosen, strict=True)]
        subjects = [clip.subject for clip, part in zip(clips, frames, strict=True) for _ in part]
        count = Counter(subjects)
        weights = np.array([1 / count[subject] for subject in subjects])
        marked = expression_pixels(np.concatenate(points), self.pack.size)
        rest = (self.log, weights, self.device, marked)
        fit_autoencoder(np.concatenate(frames), self.recipe.autoencoder, self.encoders / "vae", *rest)

    def _encode(self) -> None:
        from fye_model.training.latents import LatentEncoder, candidate_references, write_jittered, write_latents

        config = self.recipe.latents
        parts = (self.encoders / "vae", self.encoders / "image_encoder")
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
            out = self.output / "latents" / clip.clip
            record = clip.model_dump(mode="json")
            files = {"landmarks": self._clip(clip, pack.LANDMARKS), "masks": self._clip(clip, pack.MASKS)}
            entries.append(record | _texts({**files, "latents": out / LATENTS_FILE}))
            for number in range(1, self.recipe.latents.jitter.crops + 1):
                folder = out / f"{JITTERED}{number}"
                files = {"landmarks": folder / pack.LANDMARKS, "masks": folder / pack.MASKS}
                other = {"clip": f"{clip.clip}~{number}", "name": f"{clip.name}~{number}", "val": [0, 0]}
                entries.append(record | other | _texts({**files, "latents": folder / LATENTS_FILE}))
        geometry = self.pack.geometry
        header = {
            "landmark_model": self.pack.landmark_model,
            "size": self.pack.size,
            "factor": self.pack.factor,
            "fps": self.pack.fps,
            "geometry": geometry if geometry == pack.MEAN_MESH else str((self.folder / geometry).resolve()),
        }
        path = self.output / "index.json"
        write_json(path, {"schema": 1, **header, "clips": entries})
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
        )
        file = self.output / f"stage{number}.job.json"
        job.write(file)
        command = launch_command(file, "inproc" if self.processes == 1 else "torchrun", self.processes)
        self._step(output.name, [job, folder_digest(self.encoders)], lambda: _in_a_process(command))
        losses = {path: validation_loss(path) for _, path in list_checkpoints(output)}
        best = min(losses, key=lambda path: (losses[path], path.name))
        self.log(f"stage {number}: {best.name} has the lowest validation loss, {losses[best]:.4f}")
        return best

    def _save(self, checkpoint: Path, name: str, model: Path) -> None:
        parts = FrozenParts(self.encoders / "vae", self.encoders / "image_encoder", self.recipe.noise)
        description = ModelDescription(
            checkpoint=name,
            landmark_model=self.pack.landmark_model,
            landmark_variant=self.recipe.train.landmark_image.variant,
            size=self.pack.size,
            fps=self.pack.fps,
            crop=Crop(margin=self.recipe.clips.margin, faces=self.pack.faces),
            max_gap_frames=self.recipe.landmarks.max_gap_frames,
            sampling=self.recipe.sampling,
            poses=self.pack.poses,
        )
        save_model(assemble_pipeline(checkpoint, parts, "cpu"), model, description)

    def _reenact(self, model: Path) -> None:
        pipeline, folder = load_pipeline(model, self.device), self.output / REENACTED
        if self.device.startswith("cuda"):
            pipeline.to(torch.float16)
            self.log(str(pipeline.enable_fast_path()))
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


def _texts(files: dict[str, Path]) -> dict[str, str]:
    return {name: str(path.resolve()) for name, path in files.items()}


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
