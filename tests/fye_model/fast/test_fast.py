"""The rearranged denoiser is the same function: against the plain one in double precision, on a GPU in half."""

import copy

import pytest
import torch
from diffusers.models.activations import GEGLU
from diffusers.models.upsampling import Upsample2D

from fye_model.fast.blocks import FastBlock, FastUpsample, phase_weight
from fye_model.fast.kernels import elementwise, feed_forward, frame_attention, gated, group_norm, pixel_attention
from fye_model.fast.make_fast import make_fast
from fye_model.fast.transformers import FoldedContext
from fye_model.networks import Networks


def _inputs(pipe, frames: int, tokens: int, dtype: torch.dtype, guided: bool):
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    items = 2 if guided else 1
    networks = Networks(pipe.appearance_net, pipe.denoiser, pipe.landmark_encoder, pipe.image_prompt).to(dtype)
    clip = draw(1, tokens, 16)
    features = networks.reference_features(draw(1, 4, 8, 6), clip)
    context = networks.image_prompt(clip.expand(items, -1, -1), "denoiser", torch.tensor([True, False][-items:]))
    noisy, landmarks, given = draw(items, 4, frames, 8, 6), draw(items, 16, frames, 8, 6), draw(items, 5, frames, 8, 6)
    return noisy, torch.full((items,), 400.0), context, landmarks, features, given


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize(("prompt", "tokens"), [("qformer", 4), ("linear", 20)])
@torch.no_grad()
def test_the_fast_denoiser_computes_the_same(build_pipe, prompt: str, tokens: int, guided: bool) -> None:
    pipe = build_pipe(image_prompt=prompt, cross_attention_dim=32)
    inputs = _inputs(pipe, 5, tokens, torch.float64, guided)
    expected, deep = pipe.denoiser(*inputs, plain=int(guided), return_deep=True)
    fast = copy.deepcopy(pipe.denoiser)
    make_fast(fast)
    context = fast.project_context(inputs[2])
    assert any(isinstance(item, FoldedContext) for item in context) == (prompt == "qformer")
    reference = fast.project_reference(inputs[4])
    got, fast_deep = fast(*inputs[:2], context, inputs[3], reference, inputs[5], plain=int(guided), return_deep=True)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(fast_deep, deep, rtol=1e-10, atol=1e-10)
    noisy, landmarks, given = inputs[0][:1], inputs[3][:1], inputs[5][:1]  # one item, which both halves share
    for plain in (0, 1):
        expected = pipe.denoiser(noisy, inputs[1], inputs[2], landmarks, inputs[4], given, plain=plain)
        got = fast(noisy, inputs[1], context, landmarks, reference, given, plain=plain)
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_the_fast_denoiser_follows_changed_weights_when_it_is_made_anew(build_pipe) -> None:
    pipe = build_pipe()
    denoiser = pipe.denoiser
    inputs = _inputs(pipe, 3, 4, torch.float64, True)
    rearranged = make_fast(denoiser)
    with pytest.raises(ValueError, match="fast already"):
        make_fast(denoiser)
    rearranged.undo()
    motion = denoiser.unet.mid_block.motion_modules[0]
    motion.transformer_blocks[0].attn2.to_v.weight.add_(1)
    changed = denoiser(*inputs, plain=1)
    make_fast(denoiser)
    torch.testing.assert_close(denoiser(*inputs, plain=1), changed, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("part", ["denoiser", "vae"])
@torch.no_grad()
def test_undoing_puts_the_very_same_blocks_and_layouts_back(build_pipe, part: str) -> None:
    network = getattr(build_pipe(), part)
    modules, weights = dict(network.named_modules()), dict(network.named_parameters())
    saved, strides = list(network.state_dict()), {name: weight.stride() for name, weight in weights.items()}
    rearranged = make_fast(network)
    assert list(dict(network.named_modules())) == list(modules)
    assert list(network.state_dict()) == saved
    assert len(rearranged.blocks) > 5 and all(isinstance(block, FastBlock) for block in rearranged.blocks)
    assert all(weight is weights[name] for name, weight in network.named_parameters())
    rearranged.undo()
    again = dict(network.named_modules())
    assert list(again) == list(modules) and all(again[name] is module for name, module in modules.items())
    assert {name: weight.stride() for name, weight in network.named_parameters()} == strides
    assert all(weight is weights[name] for name, weight in network.named_parameters())


@torch.no_grad()
def test_weights_that_are_loaded_moved_and_converted_while_fast_are_those_of_the_plain_blocks(build_pipe) -> None:
    pipe, other = build_pipe(), build_pipe(seed=5)
    inputs = _inputs(pipe, 3, 4, torch.float64, True)
    rearranged = make_fast(pipe.denoiser)
    pipe.denoiser.load_state_dict(other.denoiser.state_dict())
    pipe.denoiser.to(torch.float16).to(torch.float64)
    rearranged.undo()
    expected = other.denoiser.to(torch.float16).to(torch.float64)(*inputs, plain=1)
    torch.testing.assert_close(pipe.denoiser(*inputs, plain=1), expected, rtol=0, atol=0)


def test_a_network_that_cannot_be_made_fast_stays_as_it_is(build_pipe) -> None:
    denoiser = build_pipe().denoiser
    deep = denoiser.unet.mid_block.motion_modules[0].transformer_blocks
    deep.append(copy.deepcopy(deep[0]))
    modules = dict(denoiser.named_modules())
    with pytest.raises(ValueError, match="AnimateDiffTransformer3D has 2 blocks"):
        make_fast(denoiser)
    assert all(modules[name] is module for name, module in denoiser.named_modules())


@torch.no_grad()
def test_attention_over_frames_is_attention_along_time() -> None:
    qkv = torch.randn(2, 5, 3, 24, dtype=torch.float64)
    got = frame_attention.frame_attention(qkv, heads=2)
    for pixel in range(3):
        query, key, value = qkv[:, :, pixel].unflatten(-1, (3, 2, 4)).unbind(2)
        for head in range(2):
            q, k, v = query[:, :, head], key[:, :, head], value[:, :, head]
            expected = (q @ k.mT / 2).softmax(-1) @ v
            torch.testing.assert_close(got[:, :, pixel, head * 4 : head * 4 + 4], expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with Triton")
@pytest.mark.parametrize("frames", [1, 2, 11, 16, 32])
@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_kernel_agrees_with_pytorch_on_a_gpu(frames: int, width: int) -> None:
    qkv = torch.randn(2, frames, 24, 3 * 8 * width, device="cuda", dtype=torch.float16)
    assert frame_attention.unsupported(qkv.device, qkv.dtype, 8, width) is None
    expected = frame_attention.reference(qkv.double(), 8)
    error = (frame_attention.frame_attention(qkv, 8).double() - expected).norm() / expected.norm()
    assert error < 2e-3


@pytest.mark.parametrize("references", [1, 2])
def test_attention_over_pixels_reads_the_reference_of_an_item_behind_its_plain_ones(references: int) -> None:
    qkv = torch.randn(6, 7, 24, dtype=torch.float64)  # two items of three frames, two heads of four channels
    key, value = torch.randn(2, references, 5, 8, dtype=torch.float64)
    got = pixel_attention.pixel_attention(qkv, 2, (key, value), plain=1, frames=3)
    for frame in range(6):
        q, k, v = qkv[frame].chunk(3, dim=-1)
        if frame >= 3:
            k, v = torch.cat([k, key[-1]]), torch.cat([v, value[-1]])
        for head in (slice(0, 4), slice(4, 8)):
            expected = (q[:, head] @ k[:, head].mT / 2).softmax(-1) @ v[:, head]
            torch.testing.assert_close(got[frame, :, head], expected)
    torch.testing.assert_close(pixel_attention.pixel_attention(qkv, 2)[:3], got[:3])
    twice = pixel_attention.attend_both_ways(qkv[3:], 2, (key, value))
    torch.testing.assert_close(twice[3:], got[3:])
    torch.testing.assert_close(twice[:3], pixel_attention.pixel_attention(qkv, 2)[3:])


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() != (9, 0) or pixel_attention.gluon is None,
    reason="needs a Hopper GPU and Gluon",
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("references", [0, 1, 3])
@pytest.mark.parametrize(("width", "pixels", "seen"), [(40, 1024, 1152), (80, 256, 64), (64, 384, 128), (128, 192, 64)])
def test_attention_over_pixels_agrees_with_pytorch_on_a_gpu(
    width: int, pixels: int, seen: int, references: int, dtype: torch.dtype
) -> None:
    device, frames, channels = torch.device("cuda"), 2, 8 * width
    assert pixel_attention.unsupported(device, dtype, 8, width) is None
    qkv = 3 * torch.randn(3 * frames, pixels, 3 * channels, device=device, dtype=dtype)
    pair = [3 * torch.randn(references, seen, channels, device=device, dtype=dtype) for _ in range(2)]
    key, value = pair if references else (None, None)
    alone = frames if references else 3 * frames
    assert pixel_attention._fits(qkv, 8, key)
    case = 8, key, value, alone, frames
    exact = [item.double() if isinstance(item, torch.Tensor) else item for item in case]
    expected = pixel_attention.reference(qkv.double(), *exact)
    limit = 2e-3 if dtype == torch.float16 else 2e-2
    assert (pixel_attention.attend_pixels(qkv, *case, both=False).double() - expected).norm() / expected.norm() < limit
    if references:
        twice = torch.cat([qkv[:frames], qkv[:frames]]).double()
        expected = pixel_attention.reference(twice, 8, exact[1][:1], exact[2][:1], frames, frames)
        got = pixel_attention.attend_pixels(qkv[:frames], 8, key[:1], value[:1], 0, frames, both=True).double()
        assert (got - expected).norm() / expected.norm() < limit


@torch.no_grad()
def test_group_norm_adds_first_and_applies_silu_last() -> None:
    norm = torch.nn.GroupNorm(4, 12)
    image, added = torch.randn(3, 12, 5, 7), torch.randn(3, 12)
    expected = torch.nn.functional.silu(norm(image + added[..., None, None]))
    torch.testing.assert_close(group_norm.group_norm(image, norm, silu=True, added=added), expected)


@pytest.mark.parametrize("size", [None, (10, 14), (9, 13)])
@torch.no_grad()
def test_an_upsampling_convolves_before_it_repeats_pixels(size: tuple[int, int] | None) -> None:
    plain = Upsample2D(6, use_conv=True, out_channels=5).double()
    image = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    expected = plain(image, size)
    assert expected.shape[-2:] == (size or (10, 14))
    network = torch.nn.Sequential(plain)
    make_fast(network)
    assert type(network[0]) is FastUpsample
    torch.testing.assert_close(network[0](image, size), expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_the_fast_autoencoder_computes_the_same(build_pipe) -> None:
    vae = build_pipe().vae.double()
    image = torch.rand(2, 3, 32, 24, dtype=torch.float64)
    latent = vae.encode(image).latent_dist.mean
    decoded = vae.decode(latent).sample
    make_fast(vae)
    torch.testing.assert_close(vae.encode(image).latent_dist.mean, latent, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(vae.decode(latent).sample, decoded, rtol=1e-10, atol=1e-10)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with Triton")
@pytest.mark.parametrize("channels", [320, 960, 1280])
@pytest.mark.parametrize(("silu", "plus"), [(True, True), (False, False)])
def test_the_norm_agrees_with_pytorch_on_a_gpu(channels: int, silu: bool, plus: bool) -> None:
    rows = torch.randn(3, 1000, channels, device="cuda", dtype=torch.float16) + 0.5
    weight, bias = torch.randn(2, channels, device="cuda", dtype=torch.float16)
    added = torch.randn(3, channels, device="cuda", dtype=torch.float16) if plus else None
    wide = rows.double() + (added.double()[:, None] if added is not None else 0)
    expected = torch.nn.functional.group_norm(wide.mT, 32, weight.double(), bias.double(), 1e-5).mT
    expected = torch.nn.functional.silu(expected) if silu else expected
    assert group_norm.unsupported(rows.device, rows.dtype) is None
    got = group_norm.norm_rows(rows, weight, bias, added, None, 32, 1e-5, silu).double()
    assert (got - expected).norm() / expected.norm() < 2e-3
    if not plus:  # the channels in two parts, the border within a group
        first, second = rows[..., : channels - 96], rows[..., channels - 96 :]
        parts = group_norm.norm_rows(first, weight, bias, None, second, 32, 1e-5, silu)
        torch.testing.assert_close(parts.double(), got, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with Triton")
@pytest.mark.parametrize(("count", "channels"), [(1000, 320), (128, 1280)])
def test_gating_agrees_with_pytorch_on_a_gpu(count: int, channels: int) -> None:
    x = torch.randn(2, count, channels, device="cuda", dtype=torch.float16)
    weight = torch.randn(8 * channels, channels, device="cuda", dtype=torch.float16) * channels**-0.5
    bias = 3 * torch.randn(8 * channels, device="cuda", dtype=torch.float16)
    if torch.cuda.get_device_capability() == (9, 0):
        assert gated.unsupported(x.device, x.dtype, channels, 4 * channels) is None
    expected = gated.geglu(x.double(), weight.double(), bias.double())
    error = (gated.geglu(x, weight, bias).double() - expected).norm() / expected.norm()
    assert error < 5e-4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with Triton")
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("channels", [320, 1280])
@torch.no_grad()
def test_the_end_of_a_block_agrees_with_pytorch_on_a_gpu(channels: int, biased: bool) -> None:
    def half(module: torch.nn.Module) -> torch.nn.Module:
        return module.half().cuda()

    norm, gates = half(torch.nn.LayerNorm(channels)), half(GEGLU(channels, 4 * channels))
    last, out = half(torch.nn.Linear(4 * channels, channels)), half(torch.nn.Conv2d(channels, channels, 1))
    torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.bias)
    network = torch.nn.Sequential(gates)
    make_fast(network)
    paired = network[0]
    hidden, x, added = torch.randn(3, 2, 1001, channels, device="cuda", dtype=torch.float16)
    bias = torch.randn(channels, device="cuda", dtype=torch.float16) if biased else None
    y = (x + added if bias is None else x + added + bias).double()
    value, gate = gates.double().proj(norm.double()(y)).chunk(2, -1)
    after = last.double()(value * torch.nn.functional.gelu(gate)) + y
    expected = hidden + torch.nn.functional.linear(after, out.double().weight.flatten(1), out.bias)
    for module in (norm, gates, last, out):
        module.half()
    paired.half()
    case = x, added, bias, norm, paired, feed_forward.tail_weight(out, last)
    assert (feed_forward.reference(hidden, *case).double() - expected).norm() / expected.norm() < 2e-3
    if torch.cuda.get_device_capability() == (9, 0):
        assert feed_forward.unsupported(x.device, x.dtype, channels, 4 * channels) is None
        assert feed_forward.in_place(hidden, *case) is hidden
        assert (hidden.double() - expected).norm() / expected.norm() < 2e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with Triton")
def test_sums_and_interleaving_agree_with_pytorch_on_a_gpu() -> None:
    x, residual = (torch.randn(3, 40, 9, 7, device="cuda", dtype=torch.float16) for _ in range(2))
    bias = torch.randn(40, device="cuda", dtype=torch.float16)
    expected = x.double() + residual.double() + bias.double()[:, None, None]
    torch.testing.assert_close(elementwise.add_residual(x, residual, bias).double(), expected, rtol=1e-3, atol=1e-3)
    phases = torch.nn.functional.conv2d(x, phase_weight(torch.randn(40, 40, 3, 3).half().cuda()), padding=1)
    expected = elementwise.interleave(phases.double(), bias.double())
    torch.testing.assert_close(elementwise.interleave(phases, bias).double(), expected, rtol=1e-3, atol=1e-3)
