"""A recipe that names SyncNet's weights has every clip scored, and screening judges those with sound."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from flows.wiring import prepare_data
from fye_model.config import Runtime
from fye_model.files import file_digest
from fye_model.lip_sync.network import SyncNet
from tasks.engine.store import Store
from tasks.faces.landmarker import LandmarkerAsset
from tasks.media.read import iter_frames
from tasks.media.write import write_video
from tasks.samples.clips import make_samples
from tasks.workspace.recipes import load_recipe
from tasks.workspace.sources import Root, register_root
from tasks.workspace.steps import Steps
from tests.flows.plain import Plain

pytestmark = pytest.mark.slow
EVERYTHING = Steps()


def test_clips_with_sound_are_judged_by_its_fit_and_mute_ones_are_not(
    landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "drawn.model"
    torch.save(SyncNet().state_dict(), weights)
    with wave.open(str(tmp_path / "noise.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.random.default_rng(0).integers(-9000, 9000, 32_000).astype(np.int16).tobytes())
    mute, other = make_samples(tmp_path / "made", clips=2, seconds=1.6, size=96)
    (tmp_path / "videos").mkdir()
    mute.rename(tmp_path / "videos" / "mute.mp4")
    write_video(tmp_path / "videos" / "loud.mp4", iter_frames(other), 25.0, audio=tmp_path / "noise.wav")

    def run(*settings: str, steps: Steps = EVERYTHING) -> Plain:
        asked = ["screening.min_sharpness=0", "split.by=tail", *settings]
        recipe, runtime = load_recipe("debug", asked), Runtime(workers=0, device="cpu")
        made = Plain(Store(tmp_path / "work"), recipe, runtime, landmarker_asset, steps=steps)
        register_root(made.store, Root(str(tmp_path / "videos")))
        return made

    with pytest.raises(ValueError, match="does nothing until"):
        prepare_data(run(steps=Steps(until="lip_sync")))
    off = run()
    assert len(prepare_data(off).verdicts.kept) == 2
    assert [result.stage for result in off.results] == ["clips", "landmarks", "screening"]

    named = (f"lip_sync.weights={weights}", f"lip_sync.sha256={file_digest(weights)}")
    judged = run(*named, "screening.min_sync_confidence=1000", "screening.max_sync_offset_s=10")
    verdicts = prepare_data(judged).verdicts
    assert [(result.stage, result.fresh) for result in judged.results] == [
        *(("clips", 0), ("landmarks", 0)),
        *(("lip_sync", 2), ("screening", 1)),
    ]
    (lost,) = verdicts.rejected
    assert lost.name.startswith("loud") and [entry.name.startswith("mute") for entry in verdicts.kept] == [True]
    assert "that sound and lips fit" in lost.reasons[0] and "screening.min_sync_confidence" in lost.reasons[0]
    later = run(*named, "screening.min_sync_confidence=0")
    assert len(prepare_data(later).verdicts.kept) == 2
    assert [result.fresh for result in later.results] == [0, 0, 0, 1], "another threshold scores nothing anew"

    weights.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"lip_sync\.weights: .* has the sha256"):
        prepare_data(run(*named))
