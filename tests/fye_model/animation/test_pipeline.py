"""The pipeline behaves as a diffusers user expects: inputs, outputs, seeds, callbacks, saving, dtypes, clear errors."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from PIL import Image

from fye_model.animation.pipeline import FollowYourEmojiPipeline
from fye_model.config import StepCacheConfig


def _run(pipe, portrait, landmarks, **changes):
    settings = {
        "num_inference_steps": 2,
        "window": 4,
        "output_type": "np",
        "generator": torch.Generator().manual_seed(0),
        **changes,
    }
    return pipe(portrait, landmarks, **settings).frames


def test_portrait_and_landmarks_may_be_pil_numpy_or_tensor(tiny_pipe, portrait, driver) -> None:
    pictures = driver(3)
    expected = _run(tiny_pipe, portrait, pictures)
    floats = portrait.astype(np.float32) / 255
    for other in (
        Image.fromarray(portrait),
        floats,
        torch.from_numpy(floats).permute(2, 0, 1),
        torch.from_numpy(portrait).permute(2, 0, 1)[None],
    ):
        np.testing.assert_array_equal(_run(tiny_pipe, other, pictures), expected)
    for other in (
        [Image.fromarray(picture) for picture in pictures],
        pictures.astype(np.float32) / 255,
        torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255,
        torch.from_numpy(pictures).permute(0, 3, 1, 2),
    ):
        np.testing.assert_allclose(_run(tiny_pipe, portrait, other), expected, atol=1e-4)


def test_output_types_hold_the_same_frames(tiny_pipe, portrait, driver) -> None:
    as_np = _run(tiny_pipe, portrait, driver(5))
    as_pt = _run(tiny_pipe, portrait, driver(5), output_type="pt")
    as_pil = _run(tiny_pipe, portrait, driver(5), output_type="pil")
    latents = _run(tiny_pipe, portrait, driver(5), output_type="latent")
    np.testing.assert_array_equal(as_pt.permute(0, 2, 3, 1).numpy(), as_np)
    np.testing.assert_allclose(np.stack([np.asarray(frame) for frame in as_pil]) / 255, as_np, atol=0.51 / 255)
    assert latents.shape == (1, 4, 5, 8, 8)
    np.testing.assert_allclose(tiny_pipe.decode_latents(latents).permute(0, 2, 3, 1).detach().numpy(), as_np, atol=1e-5)
    (frames,) = tiny_pipe(portrait, driver(1), num_inference_steps=1, return_dict=False)
    assert isinstance(frames[0], Image.Image)


def test_result_depends_on_portrait_landmarks_seed_and_guidance(tiny_pipe, portrait, driver) -> None:
    base = _run(tiny_pipe, portrait, driver(4))
    np.testing.assert_array_equal(_run(tiny_pipe, portrait, driver(4)), base)
    changed = driver(4).copy()
    changed[2] = 255 - changed[2]
    for other in (
        _run(tiny_pipe, 255 - portrait, driver(4)),
        _run(tiny_pipe, portrait, changed),
        _run(tiny_pipe, portrait, driver(4), generator=torch.Generator().manual_seed(1)),
        _run(tiny_pipe, portrait, driver(4), guidance_scale=1.0),
        _run(tiny_pipe, portrait, driver(4), guidance_scale=2.0),
    ):
        assert np.abs(other - base).max() > 1e-3


def test_guidance_is_unconditional_plus_scaled_difference(tiny_pipe, portrait, driver) -> None:
    noise = torch.randn(1, 4, 3, 8, 8, generator=torch.Generator().manual_seed(2))

    def one_step(scale: float) -> torch.Tensor:
        settings = {"latents": noise, "num_inference_steps": 1, "output_type": "latent", "guidance_scale": scale}
        return _run(tiny_pipe, portrait, driver(3), **settings)

    conditional, small, large = one_step(1.0), one_step(1.5), one_step(3.0)
    # linear in the scale from the conditional result on: (3 - 1) / (1.5 - 1) = 4 times as far
    torch.testing.assert_close(large - conditional, 4 * (small - conditional), rtol=1e-3, atol=1e-5)


def test_callback_sees_every_step_and_may_change_latents(tiny_pipe, portrait, driver) -> None:
    seen = []

    def watch(pipe, step, timestep, tensors):
        assert pipe is tiny_pipe and tensors["latents"].shape[2] in (3, 4)
        seen.append((step, timestep))
        return {"latents": torch.zeros_like(tensors["latents"])}

    latents = _run(tiny_pipe, portrait, driver(7), callback_on_step_end=watch, output_type="latent")
    assert [step for step, _ in seen] == list(range(6))  # 3 windows of 2 steps
    assert seen[0][1] > seen[1][1]
    assert not latents.any()


def test_progress_bar_counts_all_steps(build_pipe, portrait, driver, capsys) -> None:
    pipe = build_pipe()
    pipe.set_progress_bar_config(disable=False)
    _run(pipe, portrait, driver(7))
    assert "6/6" in capsys.readouterr().err


def test_saving_and_loading_gives_the_same_frames_and_dtype(tiny_pipe, portrait, driver, tmp_path) -> None:
    tiny_pipe.save_pretrained(tmp_path / "model")
    again = FollowYourEmojiPipeline.from_pretrained(tmp_path / "model")
    again.set_progress_bar_config(disable=True)
    np.testing.assert_array_equal(_run(again, portrait, driver(5)), _run(tiny_pipe, portrait, driver(5)))
    half = FollowYourEmojiPipeline.from_pretrained(tmp_path / "model", torch_dtype=torch.bfloat16)
    half.set_progress_bar_config(disable=True)
    assert {half.vae.dtype, half.denoiser.dtype, half.image_encoder.dtype} == {torch.bfloat16}
    frames = _run(half, portrait, driver(5))
    assert np.abs(frames - _run(tiny_pipe, portrait, driver(5))).mean() < 0.05


def test_a_model_folder_that_is_none_or_is_damaged_is_named(tiny_pipe, tmp_path) -> None:
    with pytest.raises(ValueError, match="is not a model folder"):
        FollowYourEmojiPipeline.from_pretrained(tmp_path)
    tiny_pipe.save_pretrained(tmp_path / "model")
    config = tmp_path / "model" / "denoiser" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "block_out_channels": [16, 64]}))
    with pytest.raises(ValueError, match="denoiser"):
        FollowYourEmojiPipeline.from_pretrained(tmp_path / "model")


def test_components_of_different_models_are_refused_with_both_settings_named(build_pipe) -> None:
    one, other = build_pipe(), build_pipe(cross_attention_dim=32)
    parts = {**one.components, "image_prompt": other.image_prompt}
    with pytest.raises(ValueError, match=r"image_prompt\.cross_attention_dim is 32 and denoiser"):
        FollowYourEmojiPipeline(**parts)
    with pytest.raises(ValueError, match="landmark_encoder's factor is 2 and vae's factor is 4"):
        build_pipe(landmark_channels=(4, 8))


def test_vae_slicing_and_decode_chunks_change_memory_not_frames(build_pipe, portrait, driver) -> None:
    pipe = build_pipe()
    whole = _run(pipe, portrait, driver(4), decode_chunk_size=4)
    np.testing.assert_allclose(_run(pipe, portrait, driver(4), decode_chunk_size=1), whole, atol=1e-5)
    pipe.enable_vae_slicing()
    assert pipe.vae.use_slicing
    np.testing.assert_allclose(_run(pipe, portrait, driver(4)), whole, atol=1e-5)
    pipe.disable_vae_slicing()
    assert not pipe.vae.use_slicing


def test_a_model_without_given_channels_and_another_scheduler_still_run(build_pipe, portrait, driver) -> None:
    pipe = build_pipe(covered_latents=False)
    assert _run(pipe, portrait, driver(9)).shape == (9, 32, 32, 3)
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config, rescale_betas_zero_snr=False)
    frames = _run(pipe, portrait, driver(9), num_inference_steps=3)
    assert frames.shape == (9, 32, 32, 3) and np.isfinite(frames).all()


def test_one_overlapping_window_equals_one_progressive_window(tiny_pipe, portrait, driver) -> None:
    settings = {"window": 8, "output_type": "latent"}
    progressive = _run(tiny_pipe, portrait, driver(6), strategy="progressive", **settings)
    overlap = _run(tiny_pipe, portrait, driver(6), strategy="overlap", **settings)
    torch.testing.assert_close(overlap, progressive, rtol=1e-4, atol=1e-5)


def test_overlapping_windows_average_what_they_share(tiny_pipe, portrait, driver) -> None:
    settings = {"num_inference_steps": 1, "output_type": "latent", "latents": torch.randn(1, 4, 6, 8, 8)}
    averaged = _run(tiny_pipe, portrait, driver(6), strategy="overlap", window=4, overlap=2, **settings)
    parts = []
    for start in (0, 2):
        part = {**settings, "latents": settings["latents"][:, :, start : start + 4]}
        parts.append(_run(tiny_pipe, portrait, driver(6)[start : start + 4], **part))
    expected = torch.cat([parts[0][:, :, :2], (parts[0][:, :, 2:] + parts[1][:, :, :2]) / 2, parts[1][:, :, 2:]], dim=2)
    torch.testing.assert_close(averaged, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 33}, "window is 33 frames.*at most 32"),
        ({"window": 2}, "at least 3"),
        ({"height": 30, "width": 32}, "divisible by 4"),
        ({"height": 64, "width": 64}, "landmark pictures are 32x32"),
        ({"strategy": "magic"}, "progressive, overlap"),
        ({"output_type": "gif"}, "pil, np, pt, latent"),
        ({"num_inference_steps": 0}, "expected 1 to 1000"),
        ({"num_inference_steps": 1001}, "expected 1 to 1000"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"decode_chunk_size": 0}, "decode_chunk_size 0"),
        ({"generator": [torch.Generator()]}, "generator is a list"),
        ({"latents": torch.zeros(1, 4, 3, 8, 8)}, "latents must have shape"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, "noise"),
        ({"strategy": "overlap", "window": 4, "overlap": 4}, "below the window"),
        (
            {"strategy": "overlap", "overlap": 1, "step_cache": StepCacheConfig(interval=2)},
            "skipping steps needs 'progressive'",
        ),
    ],
)
def test_what_cannot_be_computed_is_refused_clearly(tiny_pipe, portrait, driver, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _run(tiny_pipe, portrait, driver(5), **changes)


def test_arguments_of_a_stream_are_checked_before_its_first_frame(tiny_pipe, portrait, driver) -> None:
    with pytest.raises(ValueError, match="at most 32"):
        tiny_pipe.stream(portrait, driver(5), window=33)


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (np.zeros((0, 32, 32, 3), np.uint8), "driver is empty"),
        ([], "driver is empty"),
        (np.zeros((32, 32, 3), np.uint8), "frames, height, width, 3"),
        (np.full((2, 32, 32, 3), 200.0), "floats must lie in"),
        (torch.zeros(2, 32, 32, 3), "frames, 3, height, width"),
        ([Image.new("RGB", (32, 32)), Image.new("RGB", (16, 32))], "one size"),
        ("d0.mp4", "landmarks is a str"),
    ],
)
def test_wrong_landmarks_are_refused_clearly(tiny_pipe, portrait, landmarks, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _run(tiny_pipe, portrait, landmarks)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((32, 32), np.uint8), "one RGB picture"),
        (np.full((32, 32, 3), 7.0), "floats must lie in"),
        ("portrait.png", "expected PIL"),
    ],
)
def test_wrong_portraits_are_refused_clearly(tiny_pipe, driver, picture, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _run(tiny_pipe, picture, driver(2))


def test_a_portrait_of_another_aspect_ratio_is_cropped_around_its_centre(tiny_pipe, portrait, driver) -> None:
    wide = np.zeros((32, 64, 3), np.uint8)
    wide[:, 16:48] = portrait
    np.testing.assert_array_equal(_run(tiny_pipe, wide, driver(2)), _run(tiny_pipe, portrait, driver(2)))


def test_the_fast_path_gives_the_same_frames_and_saves_the_same_model(build_pipe, portrait, driver, tmp_path) -> None:
    pipe = build_pipe()
    plain = _run(pipe, portrait, driver(9))
    pipe.save_pretrained(tmp_path / "plain")
    pipe.enable_fast_path()
    np.testing.assert_allclose(_run(pipe, portrait, driver(9)), plain, atol=1e-4)
    pipe.save_pretrained(tmp_path / "model")
    files = sorted(path.relative_to(tmp_path / "plain") for path in (tmp_path / "plain").rglob("*") if path.is_file())
    assert len(files) > 10
    for file in files:
        assert (tmp_path / "model" / file).read_bytes() == (tmp_path / "plain" / file).read_bytes(), file
    again = FollowYourEmojiPipeline.from_pretrained(tmp_path / "model")
    again.set_progress_bar_config(disable=True)
    np.testing.assert_array_equal(_run(again, portrait, driver(9)), plain)


def test_disabling_the_fast_path_gives_the_very_same_modules_and_frames_back(build_pipe, portrait, driver) -> None:
    pipe = build_pipe()
    pipe.disable_fast_path()  # nothing to do
    plain = _run(pipe, portrait, driver(5))
    modules = [module for part in (pipe.denoiser, pipe.vae) for module in part.modules()]
    pipe.enable_fast_path()
    pipe.enable_fast_path()  # anew
    assert not np.array_equal(_run(pipe, portrait, driver(5)), plain)  # by other operations
    pipe.disable_fast_path()
    assert modules == [module for part in (pipe.denoiser, pipe.vae) for module in part.modules()]
    np.testing.assert_array_equal(_run(pipe, portrait, driver(5)), plain)


def test_blocks_compile_for_windows_of_the_most_frequent_size_alone(build_pipe, portrait, driver) -> None:
    pipe = build_pipe()
    plain = _run(pipe, portrait, driver(12))
    pipe.enable_fast_path()
    pipe._fast.compiled = True  # as after compile=True, without the time that it takes
    seen = set()

    def watch(module, inputs):
        seen.add((inputs[0].shape[2], torch._dynamo.eval_frame._stance.stance))

    pipe.denoiser.register_forward_pre_hook(watch)
    frames = _run(pipe, portrait, driver(12), window=5)  # keyframes 0, 4, 8, 11, then three windows of 5
    assert seen == {(4, "eager_on_recompile"), (5, "default")}
    assert frames.shape == plain.shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="offloading needs a GPU")
@pytest.mark.parametrize("offload", ["enable_model_cpu_offload", "enable_sequential_cpu_offload"])
def test_offloaded_pipelines_give_the_same_frames(build_pipe, portrait, driver, offload: str) -> None:
    on_gpu = _run(build_pipe().to("cuda"), portrait, driver(7))
    pipe = build_pipe()
    getattr(pipe, offload)()
    np.testing.assert_allclose(_run(pipe, portrait, driver(7)), on_gpu, atol=2e-3)
    assert pipe.denoiser.conv_given.weight.device.type in ("cpu", "meta")
