"""Clips are encoded while others wait for their landmarks, to the bytes that their own turn would give them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fye_model.config import Recipe, Runtime
from fye_model.training.autoencoder import build_autoencoder, save_folder
from tasks.encoders import ENCODERS, EncodersRow
from tasks.engine.items import FileList, Outcome, Row
from tasks.engine.pool import shutdown
from tasks.engine.store import FileRef, Store
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.clips_ahead import clips_ahead
from tasks.landmarks import LANDMARKS, LandmarkRow
from tasks.latents import LATENTS
from tasks.lip_sync import LIPSYNC, LipSyncRow
from tasks.workspace.dataset import Clip, ClipRecord
from tasks.workspace.run import Run
from tasks.workspace.steps import Steps
from tests.debug import DEBUG
from tests.flows.encoded import encode
from tests.tasks.ahead import made, receipts
from tests.tasks.test_screening import row as scored

ROOT = Path(__file__).resolve().parents[2]
CLIPS = 5


@pytest.fixture
def videos(sample_clips: list[Path], tmp_path: Path) -> Path:
    """Two clips, and three that are copies of the first: each by itself good, all together too many."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, path in enumerate([*sample_clips, *[sample_clips[0]] * (CLIPS - len(sample_clips))]):
        empty_box = b"\0\0\0\x08free" * number
        (folder / f"{number}.mp4").write_bytes(path.read_bytes() + empty_box)
    return folder


@pytest.fixture
def autoencoder(tmp_path: Path) -> str:
    """A folder of an autoencoder that nobody has trained."""
    save_folder(build_autoencoder(DEBUG.autoencoder, DEBUG.clips.size), tmp_path / "autoencoder")
    return str(tmp_path / "autoencoder")


@pytest.fixture
def no_ray_left() -> Iterator[None]:
    yield
    shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("no_ray_left")
def test_clips_are_encoded_before_the_last_landmarks_and_a_kill_in_the_middle_costs_what_was_in_work(
    videos: Path, autoencoder: str, landmarker_asset: LandmarkerAsset, prefect_server: str, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    words = [sys.executable, "-m", "tests.flows.encoded", str(work), str(videos), autoencoder]
    environment = {**os.environ, "PREFECT_API_URL": prefect_server, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, cwd=ROOT, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 150
        while not receipts(work, "latents"):
            assert time.monotonic() < deadline and process.poll() is None, "nothing was encoded"
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = {path: path.stat().st_mtime_ns for path in (work / "items").glob("*/*/receipt.json")}
    assert 2 <= len(receipts(work, "landmarks")) < CLIPS, "encoding began before the last clip had its landmarks"

    done = {result.stage: result for result in encode(str(work), str(videos), autoencoder, ahead=True)}
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was done is not done again"
    assert len(done["landmarks"].done) == CLIPS and len(done["latents"].done) == 2
    ahead = made(work, "latents", "encoders")
    for name in ("items/latents", "items/encoders", "stages", "results"):
        shutil.rmtree(work / name)
    encode(str(work), str(videos), autoencoder, ahead=False)
    plain = made(work, "latents", "encoders")
    assert len(plain) == 3 and plain.items() <= ahead.items(), "their own turn gives the same bytes, and no other keys"


GIVEN, LIPS = {"autoencoder": {"path": "/weights/vae"}}, {"lip_sync": {"weights": "/weights/syncnet_v2.model"}}
ENCODED = ["encoders", "latents"]


@pytest.mark.parametrize(
    ("recipe", "steps", "planned"),
    [
        (GIVEN, {}, ENCODED),
        (GIVEN, {"until": "latents"}, ENCODED),
        (GIVEN, {"until": "encoders"}, []),
        (GIVEN, {"only": "landmarks"}, []),
        (GIVEN, {"force": ("latents",)}, []),
        ({**GIVEN, "split": {"subjects": 3}}, {}, []),
        ({**GIVEN, **LIPS}, {}, ["lip_sync", *ENCODED]),
        ({**GIVEN, **LIPS}, {"until": "screening"}, ["lip_sync"]),
        (LIPS, {}, ["lip_sync"]),
        ({}, {}, []),
    ],
)
def test_what_can_be_done_ahead_is_what_has_its_turn_later_and_does_not_need_all_clips(
    recipe: dict[str, object], steps: dict[str, str], planned: list[str], tmp_path: Path
) -> None:
    run = a_run(recipe, tmp_path, **steps)
    found, without = clips_ahead(run, run, []), clips_ahead(run, None, [])
    assert [stage.name for stage in found.stages] == planned if found else not planned
    untrained = [name for name in planned if name not in ENCODED]
    assert [stage.name for stage in without.stages] == untrained if without else not untrained


def test_clips_with_scored_lips_are_encoded_when_nothing_speaks_against_them(tmp_path: Path) -> None:
    limits = {"screening": {"min_sharpness": 0.0, "min_valid_frames": 16, "max_sync_offset_s": 0.2}}
    clips = [clip(name) for name in ("good", "late", "unwanted", "dark")]
    plan = clips_ahead(*[a_run({**GIVEN, **LIPS, **limits}, tmp_path)] * 2, clips)
    assert plan is not None
    plan.decisions = {"unwanted": False}
    begun = [begun for one in clips for begun in plan.after(LANDMARKS, marked(one.id, bright=one.id != "dark"))]
    assert [(stage.name, item.id) for stage, item in begun] == [("lip_sync", one.id) for one in clips]
    for one in clips:
        lips = LipSyncRow(offset_s=0.5 if one.id == "late" else 0.0, confidence=6.0)
        assert not list(plan.after(LIPSYNC, outcome(one.id, {}, lips))), "the encoders are not there"
    files = {"vae/config.json": (1, "0" * 64), "image_encoder/config.json": (1, "1" * 64)}
    ((stage, item),) = plan.after(ENCODERS, outcome("encoders", files, EncodersRow(autoencoder="given", factor=8)))
    assert (stage, item.id) == (LATENTS, "good")
    assert sorted(item.inputs) == ["image_encoder/config.json", "landmarks", "vae/config.json", "video"]


def a_run(recipe: dict[str, object], work: Path, **steps: str) -> Run:
    asset = LandmarkerAsset(Path("none.task"), "test_model:0", "0" * 64, has_matrix=False, source="test")
    known = Recipe.model_validate({**DEBUG.model_dump(exclude=set(recipe)), **recipe})
    return Run(Store(work), known, Runtime(workers=0), asset, steps=Steps(**steps))


def clip(name: str) -> Clip:
    files = {"video": FileRef(f"{name}.mp4", "2" * 64, 1)}
    return Clip(ClipRecord(clip=name, name=name, subject=name, frames=100), files)


def marked(clip: str, bright: bool) -> Outcome[LandmarkRow]:
    row = scored(clip, **({} if bright else {"brightness": 0.0}))
    files = {"landmarks.parquet": (1, "3" * 64)}
    return outcome(clip, files, LandmarkRow.model_validate(row.model_dump(include=set(LandmarkRow.model_fields))))


def outcome(clip: str, files: FileList, row: Row) -> Outcome[Row]:
    return Outcome(clip, clip, "key", "items/some/key", files, row)
