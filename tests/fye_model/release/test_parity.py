"""The imported networks compute what the released code computes, and each adaptation is needed for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from fye_model.config import NetworkConfig
from fye_model.networks import Networks, attention
from fye_model.networks.image_prompt import ImagePrompt
from fye_model.networks.motion import FrameGroupNorm
from fye_model.release import import_release

FLOAT32, FLOAT64 = 2e-5, 1e-12


def gap(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference, after a check that the shapes are equal."""
    assert a.shape == b.shape
    return (a - b).abs().max().item()


def test_every_output_in_float32(case: Any, official: dict[str, Any]) -> None:
    for name, output in case.outputs().items():
        assert gap(output, official["outputs"][name]) <= FLOAT32, name


def test_every_output_in_float64(case64: Any, official: dict[str, Any]) -> None:
    outputs = case64.outputs()
    assert outputs.keys() == official["outputs_fp64"].keys()
    for name, output in outputs.items():
        assert output.dtype == torch.float64
        assert gap(output, official["outputs_fp64"][name]) <= FLOAT64, name


def test_every_output_with_8_groups_in_the_motion_modules(
    released: Path, small_config: NetworkConfig, official: dict[str, Any], tmp_path: Path, make_case: Any
) -> None:
    import_release(released, tmp_path, small_config.model_copy(update={"motion_norm_num_groups": None}))
    outputs = make_case(Networks.load(tmp_path)).outputs()
    assert outputs.keys() == official["outputs_motion_groups8"].keys()
    for name, output in outputs.items():
        assert gap(output, official["outputs_motion_groups8"][name]) <= FLOAT32, name
    assert gap(outputs["no_cfg"], official["outputs"]["no_cfg"]) > 100 * FLOAT32


def test_every_probe(case: Any, official: dict[str, Any]) -> None:
    flipped = case.denoise(noisy=case.noisy.flip(2), landmark_features=case.landmarks[:1].flip(2))
    frames = [
        case.denoise(noisy=case.noisy[:, :, i : i + 1], landmark_features=case.landmarks[:1, :, i : i + 1])
        for i in range(case.noisy.shape[2])
    ]
    probes = {
        "probe_zero_clip": case.denoise(image_tokens=torch.zeros_like(case.tokens)),
        "probe_frames_reversed": flipped.flip(2),
        "probe_single_frames": torch.cat(frames, 2),
        "probe_t17": case.denoise(t=17),
    }
    names = [entry["name"] for entry in official["intermediate"]["reference_features"]]
    for i, name in enumerate(names):
        features = [torch.zeros_like(x) if i == j else x for j, x in enumerate(case.features)]
        probes[f"probe_zero_ref.{name}"] = case.denoise(reference=features)
    assert set(probes) == {name for name in official["outputs"] if name.startswith("probe_")}
    for name, output in probes.items():
        assert gap(output, official["outputs"][name]) <= FLOAT32, name


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_16_reference_features(request: Any, official: dict[str, Any], precision: str) -> None:
    case = request.getfixturevalue("case" if precision == "float32" else "case64")
    single, both = (official["intermediate"][f"reference_features{suffix}"] for suffix in ("", "_cfg"))
    expected, expected_both = [x["tensor"] for x in single], [x["tensor"] for x in both]
    if precision == "float64":
        expected, expected_both = official["reference_features_fp64"], official["reference_features_cfg_fp64"]
    # Names in the stored order are the order that AppearanceNet documents.
    levels = [f"down_blocks.{i}.attentions.{j}" for i in range(3) for j in range(2)] + ["mid_block.attentions.0"]
    assert [x["name"] for x in single] == levels + [
        f"up_blocks.{i}.attentions.{j}" for i in (1, 2, 3) for j in range(3)
    ]
    tolerance = FLOAT32 if precision == "float32" else FLOAT64
    portrait = case.inputs.ref_latents[:1].repeat(2, 1, 1, 1)
    tokens = torch.cat([torch.zeros_like(case.tokens), case.tokens])
    with torch.no_grad():
        halves = case.networks.reference_features(portrait, tokens)
    for got, want in [*zip(case.features, expected, strict=True), *zip(halves, expected_both, strict=True)]:
        assert gap(got, want) <= tolerance


def test_a_guided_sampling_trajectory(case: Any, official: dict[str, Any]) -> None:
    stored = official["scheduler"]
    scheduler = DDIMScheduler(**stored["kwargs"])
    scheduler.set_timesteps(30)
    assert torch.equal(scheduler.timesteps, stored["timesteps_30"])
    scheduler.set_timesteps(3)
    assert torch.equal(scheduler.timesteps, stored["timesteps_3"])
    latents = case.noisy * scheduler.init_noise_sigma
    for t, expected in zip(scheduler.timesteps, stored["trajectory_3"], strict=True):
        _, guided = case.guided(latents, t)
        latents = scheduler.step(guided, t, latents).prev_sample
        assert gap(latents, expected) <= FLOAT32


def test_added_parts_change_nothing_until_trained(
    released: Path, small_config: NetworkConfig, official: dict[str, Any], tmp_path: Path, make_case: Any
) -> None:
    """Covered-latent channels and a Q-Former: bit-identical to the import without them, then not."""
    plain, full = tmp_path / "plain", tmp_path / "full"
    import_release(released, plain, small_config.model_copy(update={"covered_latents": False}))
    import_release(released, full, small_config.model_copy(update={"image_prompt": "linear_qformer"}))
    before, case = make_case(Networks.load(plain)).outputs(), make_case(Networks.load(full))
    after = case.outputs()
    for name, output in before.items():
        assert torch.equal(after[name], output), name
    given = torch.ones(1, 5, *case.noisy.shape[2:])
    assert torch.equal(case.denoise(given=given), before["no_cfg"])
    with torch.no_grad():
        case.networks.denoiser.conv_given.weight[:, 4] += 0.1
    assert gap(case.denoise(given=given), before["no_cfg"]) > FLOAT32
    with torch.no_grad():
        case.networks.image_prompt.qformer[-1].mlp.out.bias += 0.1
    assert gap(case.denoise(), before["no_cfg"]) > FLOAT32


class TestEachAdaptationIsNeeded:
    """Undo one at a time: the outputs must leave the stored ones by far more than rounding."""

    FAR = 100 * FLOAT32

    def distances(self, case: Any, official: dict[str, Any]) -> dict[str, float]:
        return {name: gap(output, official["outputs"][name]) for name, output in case.outputs().items()}

    def test_zeroing_image_tokens_behind_the_linear(
        self, case: Any, official: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        forward = ImagePrompt.forward

        def zero_behind(self: ImagePrompt, tokens: Tensor, target: Any, unconditional: Tensor | None = None) -> Tensor:
            out = forward(self, tokens, target)
            return out if unconditional is None else out.masked_fill(unconditional[:, None, None], 0)

        monkeypatch.setattr(ImagePrompt, "forward", zero_behind)
        distances = self.distances(case, official)
        assert distances["cfg_uncond_cond"] > self.FAR
        assert distances["no_cfg"] <= FLOAT32

    def test_one_linear_for_both_networks(self, case: Any, official: dict[str, Any]) -> None:
        case.networks.image_prompt.denoiser = case.networks.image_prompt.appearance
        assert self.distances(case, official)["no_cfg"] > self.FAR

    def test_self_attention_without_the_reference(
        self, case: Any, official: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = attention.self_attention
        monkeypatch.setattr(attention, "self_attention", lambda a, x, reference, *rest: original(a, x, None, *rest))
        distances = self.distances(case, official)
        assert distances["no_cfg"] > self.FAR
        assert distances["no_reference"] <= FLOAT32

    def test_self_attention_with_the_reference_in_the_unconditional_half(
        self, case: Any, official: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = attention.self_attention
        monkeypatch.setattr(attention, "self_attention", lambda a, x, r, plain, frames: original(a, x, r, 0, frames))
        distances = self.distances(case, official)
        assert distances["cfg_uncond_cond"] > self.FAR
        assert distances["no_cfg"] <= FLOAT32

    def test_landmarks_behind_the_first_skip_connection(self, case: Any, official: dict[str, Any]) -> None:
        landmarks = case.landmarks[:1].transpose(1, 2).flatten(0, 1)
        first = case.networks.denoiser.unet.down_blocks[0].resnets[0]
        first.register_forward_pre_hook(lambda module, inputs: (inputs[0] + landmarks, *inputs[1:]))
        late = case.denoise(landmark_features=None)
        assert gap(late, official["outputs"]["no_lmk"]) > self.FAR  # they do arrive
        assert gap(late, official["outputs"]["no_cfg"]) > self.FAR  # but the skip lacks them

    def test_landmarks_for_the_conditional_half_alone(self, case: Any, official: dict[str, Any]) -> None:
        halves = case.denoise(
            noisy=case.noisy.repeat(2, 1, 1, 1, 1),
            landmark_features=torch.cat([torch.zeros_like(case.landmarks[:1]), case.landmarks[:1]]),
            unconditional=[True, False],
        )
        assert gap(halves, official["outputs"]["cfg_uncond_cond"]) > self.FAR

    def test_motion_modules_that_pool_statistics_over_frames(
        self, case: Any, official: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(FrameGroupNorm, "forward", nn.GroupNorm.forward)
        assert self.distances(case, official)["no_cfg"] > self.FAR
