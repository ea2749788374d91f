"""Seconds a video at the paper's size: `python tests/benchmarks/animate.py` on one NVIDIA GPU."""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fye_model.animation.pipeline import FollowYourEmojiPipeline
from fye_model.animation.schedule import frames_computed
from fye_model.animation.step_cache import StepCache
from fye_model.config import NetworkConfig, StepCacheConfig
from fye_model.networks import build_networks

START = time.perf_counter()
CACHES = {
    "output, every 2nd, order 1": StepCacheConfig(interval=2, order=1, depth=0),
    "output, every 3rd, order 0": StepCacheConfig(interval=3, order=0, depth=0),
    "output, every 3rd, order 1": StepCacheConfig(interval=3, order=1, depth=0),
    "output, every 3rd, order 2": StepCacheConfig(interval=3, order=2, depth=0),
    "output, every 4th, order 1": StepCacheConfig(interval=4, order=1, depth=0),
}


def log(*parts: object) -> None:
    """A line with the time since the start."""
    print(f"[{time.perf_counter() - START:6.1f}s]", *parts, flush=True)


def build(device: str, dtype: torch.dtype, tiny: bool) -> FollowYourEmojiPipeline:
    """The paper's sizes with random weights; layers that start at zero get small values, or nothing would flow."""
    torch.manual_seed(0)
    if tiny:
        from tests.fye_model.animation.tiny import build_tiny

        pipe = build_tiny().to(device)
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                part.requires_grad_(False)
        return pipe
    with torch.device(device):
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
        )
        clip = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=1024,
                intermediate_size=4096,
                num_hidden_layers=24,
                num_attention_heads=16,
                patch_size=14,
                image_size=224,
            )
        )
        networks = build_networks(NetworkConfig(), 1024)
    for parameter in networks.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    for part in (vae, clip, networks):
        part.to(dtype).eval().requires_grad_(False)
    pipe = FollowYourEmojiPipeline(
        vae=vae,
        image_encoder=clip,
        feature_extractor=CLIPImageProcessor(),
        appearance_net=networks.appearance_net,
        denoiser=networks.denoiser,
        landmark_encoder=networks.landmark_encoder,
        image_prompt=networks.image_prompt,
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
        ),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


class Bench:
    """Runs the pipeline and keeps a row per run."""

    def __init__(self, device: str, size: int, steps: int) -> None:
        generator = np.random.default_rng(0)
        self.device, self.size, self.steps = device, size, steps
        self.portrait = generator.integers(0, 256, (size, size, 3)).astype(np.uint8)
        self.rows: list[dict[str, Any]] = []
        self.kept: dict[str, torch.Tensor] = {}

    def driver(self, frames: int) -> np.ndarray:
        """Black pictures with a few coloured lines, as landmarks are."""
        pictures = np.zeros((frames, self.size, self.size, 3), np.uint8)
        for frame, picture in enumerate(pictures):
            picture[self.size // 3 :: self.size // 8, (frame % 7) :: 3] = (255, frame % 256, 90)
        return pictures

    def latents(self, pipe: FollowYourEmojiPipeline, frames: int, cache: StepCacheConfig | None = None) -> torch.Tensor:
        """Latents of a run, to compare trajectories."""
        return pipe(
            self.portrait,
            self.driver(frames),
            num_inference_steps=self.steps,
            generator=torch.Generator().manual_seed(0),
            step_cache=cache,
            output_type="latent",
        ).frames.float()

    def run(
        self,
        name: str,
        pipe: FollowYourEmojiPipeline,
        frames: int,
        cache: StepCacheConfig | None = None,
        **settings: Any,
    ) -> dict[str, Any]:
        """Time one whole call, portrait in to pictures out; the latents of the same run are kept for comparison."""
        latents: list[torch.Tensor] = []
        decode = pipe.decode_latents
        pipe.decode_latents = lambda part: (latents.append(part.float().cpu()), decode(part))[1]  # type: ignore
        if self.device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        try:
            pipe(
                self.portrait,
                self.driver(frames),
                num_inference_steps=self.steps,
                generator=torch.Generator().manual_seed(0),
                step_cache=cache,
                output_type="np",
                **settings,
            )
        finally:
            del pipe.decode_latents
        seconds = time.perf_counter() - started
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.device == "cuda" else float("nan")
        row = {"name": name, "frames": frames, "seconds": seconds, "fps": frames / seconds, "peak_gib": peak}
        self.kept[f"{name}/{frames}"] = torch.cat(latents, dim=2)
        self.rows.append(row)
        log(f"{name}, {frames} frames: {seconds:.2f} s, {frames / seconds:.2f} frames/s, {peak:.1f} GiB")
        return row

    def error(self, row: dict[str, Any], key: str, reference: torch.Tensor) -> None:
        """Relative error of a run's latents."""
        got = self.kept[f"{row['name']}/{row['frames']}"]
        row[key] = float((got - reference).norm() / reference.norm())
        log(f"  {key}: {row[key]:.2e}")


def milliseconds(call: Callable[[], Any], repeats: int = 5, warm_up: int = 2) -> float:
    """Median time of a call on the GPU."""
    for _ in range(warm_up):
        call()
    times = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def ceilings(dtype: torch.dtype) -> dict[str, float]:
    """What the card does at best: a large matrix product and a large copy, on random data."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
    rate = 2 * 8192**3 / milliseconds(lambda: a @ b, 10, 3) / 1e9
    x = torch.randn(2**29, device="cuda")
    y = torch.empty_like(x)
    return {"matrix_tflops": rate, "copy_tb_s": 8 * 2**29 / milliseconds(lambda: y.copy_(x)) / 1e9}


def work(pipe: FollowYourEmojiPipeline, bench: Bench, frames: int) -> dict[str, float]:
    """TFLOP of one guided step and of everything else in a video of one window, counted on the plain networks."""
    counts = []
    for steps in (1, 2):
        with FlopCounterMode(display=False) as counter:
            pipe(bench.portrait, bench.driver(frames), num_inference_steps=steps, output_type="np")
        counts.append(counter.get_total_flops() / 1e12)
    return {"step_tflop": counts[1] - counts[0], "rest_tflop": 2 * counts[0] - counts[1]}


def main() -> None:
    """Run everything that fits into `--seconds`, print the table last."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny", action="store_true", help="tiny networks, to try the script itself")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--long", type=int, default=150, help="frames of the long video")
    parser.add_argument("--seconds", type=float, default=480, help="start nothing new after this long")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--kernels", help="file for the times of all GPU kernels of a two-step call")
    options = parser.parse_args()
    half = torch.float32 if options.device == "cpu" else torch.float16
    bench = Bench(options.device, 32 if options.tiny else 512, options.steps)
    result: dict[str, Any] = {"torch": torch.__version__, "rows": bench.rows}
    if options.device == "cuda":
        result |= {"card": torch.cuda.get_device_name(), **ceilings(half)}
        log(result["card"], f"{result['matrix_tflops']:.0f} TFLOP/s, {result['copy_tb_s']:.2f} TB/s")
    pipe = build(options.device, half, options.tiny)
    log("built")
    result |= work(pipe, bench, 16)
    log({key: value for key, value in result.items() if key.endswith("tflop")})

    bench.latents(pipe, 16)  # warm-up
    eager = bench.run("exact, eager, plain modules", pipe, 16)
    single = build(options.device, half, options.tiny)
    for name in ("denoiser", "appearance_net", "landmark_encoder", "image_prompt"):
        getattr(single, name).float()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    reference = bench.latents(single, 16)  # the same weights, computed in single precision
    log("single-precision reference trajectory")
    bench.error(eager, "error_fp32", reference)
    del single
    if options.device == "cuda":
        brain = copy.deepcopy(pipe.denoiser).to(torch.bfloat16)
        others = {key: value for key, value in pipe.components.items() if key != "denoiser"}
        parts = {
            key: copy.deepcopy(value).to(torch.bfloat16)
            if key in ("appearance_net", "landmark_encoder", "image_prompt")
            else value
            for key, value in others.items()
        }
        bf16 = FollowYourEmojiPipeline(denoiser=brain, **parts)
        bf16.set_progress_bar_config(disable=True)
        bench.error(bench.run("exact, eager, plain modules, bf16", bf16, 16), "error_fp32", reference)
        del bf16, brain, parts
        torch.cuda.empty_cache()

    pipe.enable_fast_denoiser()
    bench.latents(pipe, 16)
    bench.error(bench.run("exact, eager, rearranged", pipe, 16), "error_fp32", reference)
    deep = StepCacheConfig(interval=3, order=1, depth=1)
    exact = bench.kept["exact, eager, rearranged/16"]
    bench.error(bench.run("deep half every 3rd, order 1, eager", pipe, 16, deep), "error_exact", exact)

    label = "rearranged"
    if not options.no_compile:
        pipe.enable_fast_denoiser(compile=True)
        started = time.perf_counter()
        bench.latents(pipe, 16)
        result["compile_s"] = time.perf_counter() - started
        log(f"compiled in {result['compile_s']:.0f} s")
        label = "compiled"
    for _ in range(2):
        row = bench.run(f"exact, {label}", pipe, 16)
        bench.error(row, "error_fp32", reference)
    exact = bench.kept[f"exact, {label}/16"]
    for name, cache in CACHES.items():
        row = bench.run(f"{name}, {label}", pipe, 16, cache)
        row["computed_steps"] = StepCache(cache, options.steps).computed_steps
        bench.error(row, "error_exact", exact)
    pipe.vae.to(memory_format=torch.channels_last)
    bench.latents(pipe, 16)
    bench.run(f"exact, {label}, VAE channels-last", pipe, 16)
    if time.perf_counter() - START < options.seconds:
        long = bench.run(f"exact, {label}", pipe, options.long)
        long["frames_computed"] = frames_computed(options.long)
        name = "output, every 3rd, order 1"
        row = bench.run(f"{name}, {label}", pipe, options.long, CACHES[name])
        bench.error(row, "error_exact", bench.kept[f"exact, {label}/{options.long}"])
    if options.kernels:
        pipe.vae.to(memory_format=torch.contiguous_format)
        kernels(pipe, bench, Path(options.kernels))
    report(result, options.steps)


def kernels(pipe: FollowYourEmojiPipeline, bench: Bench, path: Path) -> None:
    """Time on the GPU by kernel over a whole call of two steps, longest first."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiler:
        pipe(bench.portrait, bench.driver(16), num_inference_steps=2, output_type="np")
        torch.cuda.synchronize()
    rows = [item for item in profiler.key_averages() if item.device_type.name == "CUDA" and item.self_device_time_total]
    rows.sort(key=lambda item: -item.self_device_time_total)
    path.write_text(
        "".join(f"{row.self_device_time_total / 1e3:9.3f} ms {row.count:6d}  {row.key[:160]}\n" for row in rows)
    )


def report(result: dict[str, Any], steps: int) -> None:
    """Table of all runs, the floor above it; JSON into $OUT where that is set."""
    print()
    if "matrix_tflops" in result:
        loop = steps * result["step_tflop"] / result["matrix_tflops"]
        rest = result["rest_tflop"] / result["matrix_tflops"]
        result["floor_s"] = loop + rest
        print(
            f"{result['card']}, torch {result['torch']}: {result['matrix_tflops']:.0f} TFLOP/s measured; "
            f"{result['step_tflop']:.1f} TFLOP a guided step of 16 frames, {result['rest_tflop']:.1f} beside the loop: "
            f"at least {loop + rest:.2f} s for 16 frames ({16 / (loop + rest):.1f} frames/s)"
        )
    print(f"{'':46} frames  seconds  frames/s  GiB   error")
    for row in result["rows"]:
        error = next((f"{row[key]:.1e} of {key[6:]}" for key in ("error_fp32", "error_exact") if key in row), "")
        numbers = f"{row['frames']:5d} {row['seconds']:8.2f} {row['fps']:8.2f} {row['peak_gib']:6.1f}"
        print(f"{row['name']:46} {numbers}  {error}")
    if folder := os.environ.get("OUT"):
        Path(folder, "animate.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
