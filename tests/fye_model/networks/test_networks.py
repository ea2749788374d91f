"""The container: shapes, conditioning, stages, saving, and what a caller may get wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from fye_model.config import NetworkConfig
from fye_model.networks import Networks, build_networks, component_arguments

Make = Callable[..., Networks]


def run(networks: Networks, inputs: SimpleNamespace, **changes: object) -> Tensor:
    """One full denoising call, with some arguments changed."""
    arguments = {
        "landmark_features": networks.landmark_features(inputs.landmarks),
        "reference": networks.reference_features(inputs.reference, inputs.tokens),
        "image_tokens": inputs.tokens,
        "given": inputs.given,
        **changes,
    }
    return networks.denoise(inputs.noisy, inputs.t, **arguments)


@torch.no_grad()
def test_every_input_reaches_the_output(make_networks: Make, inputs: SimpleNamespace) -> None:
    networks = make_networks()
    full = run(networks, inputs)
    assert full.shape == inputs.noisy.shape
    for change in (
        {"landmark_features": None},
        {"reference": None},
        {"given": None},
        {"image_tokens": inputs.tokens.flip(0)},
        {"temporal": False},
        {"unconditional": [True, True]},
    ):
        assert (run(networks, inputs, **change) - full).abs().max() > 1e-3, change
    later = networks.denoise(inputs.noisy, 5, None, None, inputs.tokens)
    assert (later - networks.denoise(inputs.noisy, 6, None, None, inputs.tokens)).abs().max() > 1e-4


@torch.no_grad()
def test_items_of_a_batch_do_not_mix(make_networks: Make, inputs: SimpleNamespace) -> None:
    networks = make_networks()
    both = run(networks, inputs)
    second = SimpleNamespace(**{name: value[1:] for name, value in vars(inputs).items()})
    torch.testing.assert_close(both[1:], run(networks, second), atol=2e-5, rtol=0)


@torch.no_grad()
def test_temporal_false_treats_frames_as_single_images(make_networks: Make, inputs: SimpleNamespace) -> None:
    networks = make_networks()
    clip = run(networks, inputs, temporal=False)
    landmarks, reference = (
        networks.landmark_features(inputs.landmarks),
        networks.reference_features(inputs.reference, inputs.tokens),
    )
    for i in range(3):
        frame = networks.denoise(
            inputs.noisy[:, :, i : i + 1],
            inputs.t,
            landmarks[:, :, i : i + 1],
            reference,
            inputs.tokens,
            inputs.given[:, :, i : i + 1],
            temporal=False,
        )
        torch.testing.assert_close(clip[:, :, i : i + 1], frame, atol=2e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("pattern", [[True, False], [False, True], [True, True], [False, False]])
def test_every_way_of_marking_unconditional_items_agrees(
    make_networks: Make, inputs: SimpleNamespace, pattern: list[bool]
) -> None:
    networks = make_networks().double()
    for name, value in vars(inputs).items():
        setattr(inputs, name, value.double() if value.is_floating_point() else value)
    expected = []
    for i, plain in enumerate(pattern):
        one = SimpleNamespace(**{name: value[i : i + 1] for name, value in vars(inputs).items()})
        tokens = torch.zeros_like(one.tokens) if plain else one.tokens
        expected.append(run(networks, one, image_tokens=tokens, **({"reference": None} if plain else {})))
    marked = torch.tensor(pattern)
    fast = run(networks, inputs, unconditional=pattern)
    torch.testing.assert_close(fast, torch.cat(expected), atol=1e-12, rtol=0)
    torch.testing.assert_close(run(networks, inputs, unconditional=marked), fast, atol=1e-12, rtol=0)
    # What a tensor on the GPU takes: no branch on its values.
    networks_input = networks.image_prompt(inputs.tokens, "denoiser", marked)
    branchless = networks.denoiser(
        inputs.noisy,
        inputs.t,
        networks_input,
        networks.landmark_features(inputs.landmarks),
        networks.reference_features(inputs.reference, inputs.tokens),
        inputs.given,
        plain=marked,
    )
    torch.testing.assert_close(branchless, fast, atol=1e-12, rtol=0)


@torch.no_grad()
def test_prepared_conditions_serve_both_halves_of_guidance(make_networks: Make, inputs: SimpleNamespace) -> None:
    networks = make_networks()
    portrait, tokens = inputs.reference[:1], inputs.tokens[:1]
    features = networks.reference_features(portrait, tokens)
    prepared = networks.prepare(features, tokens, [True, False])
    landmarks = networks.landmark_features(inputs.landmarks)
    expected = networks.denoise(
        inputs.noisy,
        inputs.t,
        landmarks,
        [x.repeat(2, 1, 1) for x in features],
        tokens.repeat(2, 1, 1),
        unconditional=torch.tensor([True, False]),
    )
    got = networks.denoise(inputs.noisy, inputs.t, landmarks, prepared=prepared)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_inputs_of_one_item_stand_for_both_halves_of_guidance(make_networks: Make, inputs: SimpleNamespace) -> None:
    networks = make_networks()
    denoiser = networks.denoiser
    features = networks.reference_features(inputs.reference[:1], inputs.tokens[:1])
    context = networks.image_prompt(inputs.tokens, "denoiser", torch.tensor([True, False]))
    noisy, given = inputs.noisy[:1], inputs.given[:1]
    landmarks = networks.landmark_features(inputs.landmarks)[:1]
    steps = torch.full((2,), 7)
    once = denoiser(noisy, steps, context, landmarks, features, given, plain=1)
    both = (x.repeat(2, 1, 1, 1, 1) for x in (noisy, landmarks, given))
    noisy, landmarks, given = both
    torch.testing.assert_close(once, denoiser(noisy, steps, context, landmarks, features, given, plain=1))
    assert (once[0] - once[1]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="2 items for 3 timesteps"):
        denoiser(noisy, torch.full((3,), 7), context)


@torch.no_grad()
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("size", [(8, 8), (6, 10)])
def test_outer_levels_with_own_deep_features_repeat_the_full_run(
    make_networks: Make, inputs: SimpleNamespace, depth: int, size: tuple[int, int]
) -> None:
    networks = make_networks()
    noisy = torch.randn(2, 4, 3, *size, generator=torch.Generator().manual_seed(3))
    full, deep = networks.denoise(noisy, inputs.t, None, None, inputs.tokens, return_deep=True, depth=depth)
    again = networks.denoise(noisy, inputs.t, None, None, inputs.tokens, deep_features=deep, depth=depth)
    torch.testing.assert_close(again, full, atol=0, rtol=0)
    changed = networks.denoise(noisy, inputs.t, None, None, inputs.tokens, deep_features=deep + 1, depth=depth)
    assert (changed - full).abs().max() > 1e-3
    assert deep.shape[0] == 6


def test_step_caching_skips_the_deep_levels(make_networks: Make, inputs: SimpleNamespace) -> None:
    networks = make_networks()
    with torch.no_grad():
        _, deep = networks.denoise(inputs.noisy, 1, None, None, inputs.tokens, return_deep=True)
    networks.denoise(inputs.noisy, 1, None, None, inputs.tokens, deep_features=deep).sum().backward()
    used = {name for name, p in networks.denoiser.unet.named_parameters() if p.grad is not None and p.grad.any()}
    assert not any(name.startswith(("mid_block.", "down_blocks.1.", "up_blocks.2.")) for name in used)
    assert any(name.startswith("up_blocks.3.") for name in used)


def test_each_stage_trains_all_of_its_parameters_and_no_other(make_networks: Make, inputs: SimpleNamespace) -> None:
    networks = make_networks()
    names = {stage: set(networks.trainable_parameters(stage)) for stage in (1, 2)}
    assert names[1] | names[2] == {name for name, _ in networks.named_parameters()}
    assert not names[1] & names[2]
    assert names[2] == {n for n in names[2] if ".motion_modules." in n} | {"denoiser.conv_given.weight"}
    assert all(n.startswith(("appearance_net.", "landmark_encoder.", "image_prompt.", "denoiser.")) for n in names[1])
    for stage, temporal in ((1, False), (2, True)):
        trained = networks.set_stage(stage)
        networks.zero_grad()
        run(networks, inputs, temporal=temporal).square().mean().backward()
        moved = {name for name, p in networks.named_parameters() if p.grad is not None and p.grad.any()}
        assert moved == set(trained), moved ^ set(trained)
    with pytest.raises(ValueError, match="expected 1"):
        networks.trainable_parameters(3)


def test_gradient_checkpointing_changes_memory_but_no_gradient(make_networks: Make, inputs: SimpleNamespace) -> None:
    networks = make_networks()
    gradients = []
    for _ in range(2):
        networks.zero_grad()
        run(networks, inputs, unconditional=torch.tensor([False, True])).square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in networks.named_parameters()})
        networks.enable_gradient_checkpointing()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-7, rtol=1e-5, msg=name)


def test_layers_without_influence_do_not_exist(make_networks: Make) -> None:
    names = set(dict(make_networks().appearance_net.named_parameters()))
    last = "unet.up_blocks.3.attentions.2."
    assert {n.removeprefix(last) for n in names if n.startswith(last)} == {
        "norm.weight",
        "norm.bias",
        "proj_in.weight",
        "proj_in.bias",
        "transformer_blocks.0.norm1.weight",
        "transformer_blocks.0.norm1.bias",
    }
    assert not any("conv_out" in n or "conv_norm_out" in n for n in names)


@torch.no_grad()
def test_new_networks_ignore_landmarks_given_latents_and_motion(make_networks: Make, inputs: SimpleNamespace) -> None:
    networks = make_networks(trained=False)
    full = run(networks, inputs)
    for change in ({"landmark_features": None}, {"given": None}, {"temporal": False}):
        torch.testing.assert_close(run(networks, inputs, **change), full, atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_q_former_added_to_a_linear_image_prompt_changes_nothing_until_trained(
    make_networks: Make, inputs: SimpleNamespace
) -> None:
    linear, both = make_networks(image_prompt="linear"), make_networks(False, image_prompt="linear_qformer")
    missing = both.load_state_dict(linear.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert all(key.startswith("image_prompt.") for key in missing.missing_keys)
    unconditional = torch.tensor([True, False])
    before = run(linear, inputs, unconditional=unconditional)
    torch.testing.assert_close(run(both, inputs, unconditional=unconditional), before, atol=0, rtol=0)
    both.image_prompt.qformer[0].image_attention.to_out.weight.add_(0.5)
    assert (run(both, inputs, unconditional=unconditional) - before).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["qformer", "linear", "linear_qformer"])
def test_saved_networks_load_bit_identical(
    make_networks: Make, inputs: SimpleNamespace, tmp_path: Path, kind: str
) -> None:
    networks = make_networks(image_prompt=kind)
    networks.save(tmp_path / "model")
    networks.save(tmp_path / "model")  # over an older one
    loaded = Networks.load(tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        "appearance_net",
        "denoiser",
        "image_prompt",
        "landmark_encoder",
    ]
    assert loaded.state_dict().keys() == networks.state_dict().keys()
    with torch.no_grad():
        assert torch.equal(run(loaded, inputs), run(networks, inputs))
    loaded.trainable_parameters(1)  # still parameters, not plain tensors
    from_diffusers = type(networks.denoiser).from_pretrained(tmp_path / "model" / "denoiser")
    assert all(
        torch.equal(a, b)
        for a, b in zip(from_diffusers.state_dict().values(), networks.denoiser.state_dict().values(), strict=True)
    )


def test_loading_another_configuration_names_what_differs(
    make_networks: Make, tiny_config: NetworkConfig, tmp_path: Path
) -> None:
    make_networks().save(tmp_path)
    Networks.load(tmp_path, component_arguments(tiny_config, 24))
    other = tiny_config.model_copy(update={"cross_attention_dim": 16})
    with pytest.raises(ValueError, match="cross_attention_dim is 12, expected 16"):
        Networks.load(tmp_path, component_arguments(other, 24))


def test_damaged_folders_are_named(make_networks: Make, tmp_path: Path) -> None:
    make_networks().save(tmp_path)
    weights = tmp_path / "denoiser" / "diffusion_pytorch_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"denoiser.*not a readable safetensors"):
        Networks.load(tmp_path)
    weights.unlink()
    with pytest.raises(ValueError, match="does not exist"):
        Networks.load(tmp_path)
    weights.write_bytes((tmp_path / "appearance_net" / weights.name).read_bytes())
    with pytest.raises(ValueError, match=r"missing: .* unexpected|missing"):
        Networks.load(tmp_path)
    (tmp_path / "denoiser" / "config.json").write_text('{"_class_name": "AppearanceNet"}')
    with pytest.raises(ValueError, match="expected a Denoiser"):
        Networks.load(tmp_path)
    (tmp_path / "denoiser" / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        Networks.load(tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        Networks.load(tmp_path / "nowhere")


def test_wrong_calls_say_what_was_expected(make_networks: Make, inputs: SimpleNamespace) -> None:
    networks = make_networks(motion_max_frames=4)
    five = torch.zeros(1, 4, 5, 8, 8)
    with pytest.raises(ValueError, match="5 frames exceeds the motion modules' 4"):
        networks.denoise(five, 1, None, None, inputs.tokens[:1])
    networks.denoise(five, 1, None, None, inputs.tokens[:1], temporal=False)
    with pytest.raises(ValueError, match=r"60x64 pixels.*multiples of 8.*64x64"):
        networks.landmark_features(torch.zeros(1, 3, 1, 64, 60))
    with pytest.raises(ValueError, match="landmark_features are"):
        networks.denoise(inputs.noisy, 1, torch.zeros(2, 8, 3, 4, 4), None, inputs.tokens)
    with pytest.raises(ValueError, match="given is"):
        networks.denoise(inputs.noisy, 1, None, None, inputs.tokens, given=inputs.noisy)
    with pytest.raises(ValueError, match="image_tokens"):
        networks.denoise(inputs.noisy, 1)
    with pytest.raises(ValueError, match=r"15 reference features.*16 places"):
        features = networks.reference_features(inputs.reference, inputs.tokens)
        networks.denoise(inputs.noisy, 1, None, features[:-1], inputs.tokens)
    with pytest.raises(ValueError, match="depth is 4, expected 1 to 3"):
        networks.denoise(inputs.noisy, 1, None, None, inputs.tokens, depth=4)
    with pytest.raises(ValueError, match="covered_latents"):
        make_networks(covered_latents=False).denoise(inputs.noisy, 1, None, None, inputs.tokens, given=inputs.given)
    with pytest.raises(ValueError, match="unconditional has shape"):
        networks.denoise(inputs.noisy, 1, None, None, inputs.tokens, unconditional=[True])
    small = networks.reference_features(inputs.reference[:, :, :8, :8], inputs.tokens)
    networks.denoise(inputs.noisy, 1, None, small, inputs.tokens, unconditional=[True, False])
    with pytest.raises(ValueError, match="64 tokens where the frames have 256"):
        networks.denoise(inputs.noisy, 1, None, small, inputs.tokens, unconditional=[False, True])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_heads": 3}, "attention_heads is 3"),
        ({"norm_num_groups": 5}, "norm_num_groups is 5"),
        ({"motion_norm_num_groups": 16}, "motion_norm_num_groups is 16"),
        ({"qformer_heads": 5}, "qformer_heads is 5"),
        ({"block_out_channels": (8,)}, "two resolution levels"),
    ],
)
def test_sizes_that_cannot_be_built_are_named(
    tiny_config: NetworkConfig, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_networks(tiny_config.model_copy(update=changes), 24)


def test_the_paper_size_has_21_motion_modules_and_16_reference_features() -> None:
    with torch.device("meta"):
        networks = build_networks(NetworkConfig(), 1024)
    assert networks.appearance_net.feature_count == networks.denoiser.feature_count == 16
    modules = {
        n.split(".motion_modules.")[0] + n.split(".motion_modules.")[1][0]
        for n in networks.temporal_parameters()
        if "motion" in n
    }
    assert len(modules) == 21
    with torch.no_grad():
        features = networks.reference_features(
            torch.zeros(1, 4, 64, 64, device="meta"), torch.zeros(1, 257, 1024, device="meta")
        )
    assert [tuple(x.shape[1:]) for x in features] == (
        [(4096, 320)] * 2 + [(1024, 640)] * 2 + [(256, 1280)] * 2 + [(64, 1280)]
        + [(256, 1280)] * 3 + [(1024, 640)] * 3 + [(4096, 320)] * 3
    )  # fmt: skip
