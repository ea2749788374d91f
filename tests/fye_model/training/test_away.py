"""A pack trained by the library alone: a model and its reenactments come out, and nothing finished is done again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fye_model.animation.folder import load_pipeline
from fye_model.config import Recipe
from fye_model.files import folder_digest
from fye_model.pictures import read_pictures, write_pictures
from fye_model.training import pack
from fye_model.training.away import Away
from fye_model.training.pack import Pack, PackedClip, check_reenacted, read_pack
from tests.debug import DEBUG
from tests.fye_model.training.conftest import FPS, MODEL, SIZE, write_clip

FRAMES = 20
CHANGES = {
    "clips": {"size": SIZE},
    "autoencoder": {"fit_steps": 2, "block_out_channels": [8, 8, 16, 16], "norm_num_groups": 4},
    "latents": {"references": 4, "jitter": {"crops": 2}},
    "evaluation": {"frames": 4, "size": SIZE},
}

pytestmark = pytest.mark.slow


def make_pack(folder: Path, **changes: object) -> Path:
    """Two made-up clips and one reenactment."""
    values = DEBUG.model_dump(mode="json")
    for key, change in {**CHANGES, **changes}.items():
        values[key] |= change
    recipe = Recipe.model_validate(values)
    random = np.random.default_rng(0)
    clips = []
    for number, name in enumerate(("a", "b")):
        write_clip(folder / "clips" / name, FRAMES, seed=number)
        (folder / "clips" / name / "latents.safetensors").unlink()
        frames = random.integers(0, 255, (FRAMES, SIZE, SIZE, 3), np.uint8)
        write_pictures(folder / "clips" / name / pack.FRAMES, frames, quality=90)
        spans = {"train": (0, 14), "val": (14, FRAMES)}
        clips.append(PackedClip(clip=name, name=name, subject=name, frames=FRAMES, **spans))
    asked = folder / pack.REENACTMENTS / "a"
    asked.mkdir(parents=True)
    write_pictures(asked / pack.REFERENCE, frames[:1], quality=None)
    write_pictures(asked / pack.DRAWN, np.zeros((3, SIZE, SIZE, 3), np.uint8), quality=None)
    Pack(
        content="made up",
        recipe=recipe,
        landmark_model=MODEL,
        geometry="mean_mesh",
        size=SIZE,
        factor=recipe.autoencoder.factor,
        fps=FPS,
        faces=None,
        poses=None,
        clips=tuple(clips),
        reenactments=("a",),
    ).write(folder)
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """A pack, its output, and what was said."""
    folder = make_pack(tmp_path_factory.mktemp("away") / "pack")
    output, lines = folder.parent / "out", list[str]()
    Away(folder, output, "cpu", 1, lines.append).run()
    return folder, output, lines


def test_a_model_and_its_reenactments_come_out_and_stay(done: tuple[Path, Path, list[str]]) -> None:
    folder, output, lines = done
    assert load_pipeline(output / "model", "cpu").description.size == SIZE
    made = read_pictures(output / "reenacted" / "a.parquet")
    assert made.shape == (3, SIZE, SIZE, 3) and made.std() > 0
    # the other crops were trained on: index.json names them, and holds nothing of them out
    index = (output / "index.json").read_text()
    assert '"a~1"' in index and '"b~2"' in index and not any("done already" in line for line in lines)

    again: list[str] = []
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")}
    Away(folder, output, "cpu", 1, again.append).run()
    assert sum("done already" in line for line in again) == 6  # encoders, latents, two stages, model, reenactments
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")} == before


def test_reenactments_of_another_model_or_under_other_terms_are_refused(
    done: tuple[Path, Path, list[str]], tmp_path: Path
) -> None:
    folder, output, _ = done
    recipe, made, model = read_pack(folder).recipe, output / "reenacted", folder_digest(output / "model")
    check_reenacted(made, model, recipe.sampling, recipe.evaluation)
    with pytest.raises(ValueError, match="made with another model than given here"):
        check_reenacted(made, "another", recipe.sampling, recipe.evaluation)
    steps = recipe.sampling.model_copy(update={"steps": 9})
    with pytest.raises(ValueError, match="another sampling"):
        check_reenacted(made, model, steps, recipe.evaluation)
    with pytest.raises(ValueError, match="let the training machine reenact again"):
        check_reenacted(tmp_path, model, recipe.sampling, recipe.evaluation)


def test_an_output_belongs_to_one_pack(done: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    _, output, _ = done
    other = make_pack(tmp_path / "pack", sampling={"steps": 9})
    before = (output / "index.json").read_bytes()
    with pytest.raises(ValueError, match="was begun with another pack, or another recipe in it"):
        Away(other, output, "cpu", 1, lambda line: None).run()
    assert (output / "index.json").read_bytes() == before


def test_asked_to_stop_it_ends_with_a_checkpoint_and_goes_on_from_there(tmp_path: Path) -> None:
    values = DEBUG.train.model_dump(mode="json")
    values["stage1"] |= {"steps": 400, "checkpoint_every": 400, "validate_every": 400}
    folder, output = make_pack(tmp_path / "pack", train=values), tmp_path / "out"
    command = [sys.executable, "-m", "fye_model.training.away", str(folder), str(output), "--device", "cpu"]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    metrics = output / "stage1" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.is_file() and metrics.read_text().count("\n") > 2) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    (checkpoint,) = (output / "stage1").glob("checkpoint-*")
    assert 0 < int(checkpoint.name[-6:]) < 400


def test_a_folder_that_is_no_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"give the folder that `fye pack` wrote"):
        read_pack(tmp_path)
    (tmp_path / pack.PACK).write_text('{"schema": 1}')
    with pytest.raises(ValueError, match="recipe: Field required"):
        read_pack(tmp_path)
    (tmp_path / pack.PACK).write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        read_pack(tmp_path)
