"""Samples: a pure function of (seed, step, item), of valid frames only, balanced over subjects."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from fye_model.config import CoveringConfig, TrainStageConfig
from fye_model.training.data import StepBatches, TrainingSamples
from fye_model.training.index import read_index
from fye_model.training.loader import Batches


def samples(
    data: Path, part: str = "train", covering: CoveringConfig | None = None, **train: object
) -> TrainingSamples:
    config = TrainStageConfig(**{"steps": 10, "batch_size": 4, **train})
    return TrainingSamples(read_index(data), config, covering, 1000, part=part)


def test_a_sample_is_the_files_at_the_frames_that_it_names(data: Path) -> None:
    clips = samples(data, frames=4, frame_stride=2, covering=CoveringConfig())
    sample = clips[3, 1]
    window = clips.windows[int(sample["clip"])]
    file = clips.reader.latent_file(window.clip)
    frames = sample["frames"].numpy()
    assert np.array_equal(np.diff(frames), [2, 2, 2])
    assert torch.equal(sample["latents"][0, :, 0, 0], torch.from_numpy(frames).float() / 64), "latents name their frame"
    assert sample["reference_latent"][0, 0, 0] * 64 == sample["reference"]
    assert sample["image_tokens"][0, 0] == sample["reference"], "tokens are of the same reference frame as the latent"
    assert sample["latents"].shape == sample["noise"].shape == (4, 4, 4, 4)
    assert sample["landmarks"].shape == (3, 4, 32, 32) and sample["landmarks"].dtype == torch.uint8
    assert sample["landmarks"].permute(1, 0, 2, 3).flatten(1).any(dim=1).all(), "every frame is drawn"
    expression, face = clips.reader.masks(window.clip)
    assert torch.equal(sample["expression_mask"], torch.from_numpy(expression[frames].astype(np.float32)))
    assert torch.equal(sample["face_mask"], torch.from_numpy(face[frames].astype(np.float32)))
    assert file.shape == (window.clip.frames, 4, 4, 4)


def test_the_same_key_gives_the_same_sample_in_any_order_and_another_key_another(data: Path) -> None:
    first, second = samples(data, frames=4), samples(data, frames=4)
    wanted = first[5, 2]
    second[9, 0], second[1, 1]
    for name, value in second[5, 2].items():
        assert torch.equal(value, wanted[name]), name
    for other in ((5, 3), (6, 2)):
        assert not torch.equal(first[other]["noise"], wanted["noise"])
    assert not torch.equal(samples(data, frames=4, seed=1)[5, 2]["noise"], wanted["noise"])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_workers_and_start_at_any_step(data: Path, workers: int) -> None:
    clips = samples(data)
    expected = [clips[step, item] for step in (3, 4) for item in range(4)]
    batches = list(Batches(clips, StepBatches(3, 4, 4, 1, 0, 1), workers, torch.device("cpu"), timeout_s=60))
    assert len(batches) == 2
    got = torch.cat([batch["noise"] for batch in batches])
    assert torch.equal(got, torch.stack([sample["noise"] for sample in expected]))


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_processes_and_micro_batches_share_one_global_batch(world: int, accumulate: int) -> None:
    keys: list[list[tuple[int, int]]] = [[] for _ in range(2)]
    for rank in range(world):
        for batch in StepBatches(1, 2, 8, accumulate, rank, world):
            assert len(batch) == 8 // (world * accumulate) and len({step for step, _ in batch}) == 1
            for key in batch:
                keys[key[0] - 1].append(key)
    assert [sorted(step) for step in keys] == [[(1, i) for i in range(8)], [(2, i) for i in range(8)]]


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 6"):
        StepBatches(1, 2, 8, 3, 0, 2)


def test_invalid_frames_are_neither_targets_nor_references(data: Path) -> None:
    for part, invalid in (("train", 10), ("val", 27)):
        clips = samples(data, part=part, frames=2)
        seen = [clips[0, item] for item in range(300)]
        ben = [s for s in seen if clips.windows[int(s["clip"])].clip.name == "b"]
        assert len(ben) > 20
        assert all(invalid not in s["frames"] and s["reference"] != invalid for s in ben)
        for s in seen:
            clip = clips.windows[int(s["clip"])].clip
            start, end = clip.train if part == "train" else clip.val
            assert start <= s["frames"].min() and s["frames"].max() < end


def test_subjects_come_up_equally_often_though_one_has_two_clips(data: Path) -> None:
    clips = samples(data)
    count = Counter(clips.windows[int(clips[0, item]["clip"])].clip.subject for item in range(1000))
    assert count["anna"] == pytest.approx(500, abs=50)


def test_the_reference_keeps_its_distance_from_every_target(data: Path) -> None:
    clips = samples(data, frames=4, min_reference_distance=5)
    for item in range(200):
        sample = clips[0, item]
        assert (sample["frames"] - sample["reference"]).abs().min() >= 5


def test_dropout_and_covering_happen_as_often_as_asked_and_never_in_validation(data: Path) -> None:
    clips = samples(data, frames=4, condition_dropout=0.25, covering=CoveringConfig(all_but_ends=1.0))
    drawn = [clips[0, item] for item in range(600)]
    assert np.mean([bool(s["unconditional"]) for s in drawn]) == pytest.approx(0.25, abs=0.06)
    assert all(s["covered"].tolist() == [False, True, True, False] for s in drawn)
    held_out = samples(data, part="val", condition_dropout=1.0)
    timesteps = [int(held_out[0, item]["timestep"]) for item in range(100)]
    assert not any(bool(held_out[0, item]["unconditional"]) for item in range(10))
    assert np.histogram(timesteps, bins=10, range=(0, 1000))[0].min() >= 8, "timesteps are spread evenly"


def test_without_covering_everything_counts_as_covered(data: Path) -> None:
    assert samples(data, frames=4)[0, 0]["covered"].all()


def test_a_batch_larger_than_the_data_is_drawn_with_replacement(data: Path) -> None:
    clips = samples(data, batch_size=500)
    assert sum(len(window.starts) for window in clips.windows) < 500
    assert len([clips[1, item] for item in range(500)]) == 500


def test_short_clips_are_left_out_with_a_message(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    clips = samples(data, frames=16)
    assert [window.clip.name for window in clips.windows] == ["a", "b"] or len(clips.windows) < 3
    assert "clip c left out of train" in caplog.text


def test_no_usable_clip_is_a_clear_error(data: Path) -> None:
    with pytest.raises(ValueError, match=r"no clip to train on: none of the 3 clips.*Add longer clips"):
        samples(data, frames=64)
    with pytest.raises(ValueError, match="no clip to train on"):
        samples(data, min_reference_distance=100)


def changed(data: Path, tmp_path: Path, **changes: object) -> Path:
    """The index with clip `b` changed, elsewhere; its file paths made absolute."""
    values = json.loads(data.read_text())
    for clip in values["clips"]:
        clip.update({key: str(data.parent / clip[key]) for key in ("landmarks", "masks", "latents")})
    values["clips"][1].update(changes)
    path = tmp_path / "index.json"
    path.write_text(json.dumps(values))
    return path


def test_a_missing_latent_file_names_the_clip(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"clip b: no file .*gone\.safetensors"):
        samples(changed(data, tmp_path, latents="gone.safetensors"))


def test_a_damaged_latent_file_is_named(data: Path, tmp_path: Path) -> None:
    whole = (data.parent / "b" / "latents.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.safetensors: not a readable latent file"):
        samples(changed(data, tmp_path, latents="cut.safetensors"))


def test_files_of_another_length_or_model_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"clip b: .*run the landmark stage again"):
        samples(changed(data, tmp_path, frames=31))
    with pytest.raises(ValueError, match="clip b: latents of shape"):
        samples(changed(data, tmp_path, latents=str(data.parent / "c" / "latents.safetensors")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": [0, 40]}, r"clip b: .*does not lie within"),
        ({"val": [20, 30]}, r"clip b: .*overlap"),
        ({"extra": 1}, r"clip b\.extra"),
        ({"frames": "many"}, r"clip b\.frames"),
    ],
)
def test_a_wrong_index_names_file_clip_and_key(data: Path, tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=r"index\.json.*" + message):
        read_index(changed(data, tmp_path, **change))


def test_another_schema_or_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    with pytest.raises(ValueError, match="cannot be read"):
        read_index(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        read_index(path)
    path.write_text('{"schema": 2}')
    with pytest.raises(ValueError, match="schema is 2, expected 1"):
        read_index(path)


def test_the_digest_follows_the_data_not_where_it_lies(data: Path, tmp_path: Path) -> None:
    same = read_index(changed(data, tmp_path))
    assert same.digest() == read_index(data).digest()
    assert read_index(changed(data, tmp_path, subject="carl")).digest() != same.digest()
