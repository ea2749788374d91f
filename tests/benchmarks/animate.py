"""Seconds a video at the paper's size: `python tests/benchmarks/animate.py` on one NVIDIA GPU.

512x512, 30 DDIM steps, guidance 3.5, window 16, random weights, portrait in to pictures out. On one NVIDIA H200
with torch 2.11 (CUDA 13.0) and Triton 3.6, fp16; 751 TFLOP/s in a large matrix product and 4.21 TB/s in a copy:

| frames | | seconds | frames/s | GiB | relative error of the latents |
|---|---|---|---|---|---|
| 16 | exact, plain modules | 5.36 | 2.98 | 9.0 | 8.4e-4 of single precision |
| 16 | exact, rearranged | 2.81 | 5.70 | 9.5 | 6.7e-4 of single precision |
| 16 | exact, rearranged and compiled | 2.63 | 6.09 | 9.5 | 6.7e-4 of single precision |
| 16 | half of the network every 3rd step, order 1, rearranged | 2.08 | 7.70 | 9.8 | 1.0e-2 of exact |
| 150 | exact, rearranged and compiled | 28.4 | 5.29 | 9.5 | |

Skipping steps, compiled, on another H200 (704 TFLOP/s), where exact took 2.69 s (5.95 frames/s):

| frames | | seconds | frames/s | relative error of the latents |
|---|---|---|---|---|
| 16 | 12 of 30 computed | 1.19 | 13.5 | 1.7e-2 of exact |
| 16 | 8 | 0.84 | 19.0 | 1.8e-2 |
| 16 | 7 | 0.76 | 21.1 | 2.1e-2 |
| 16 | 6 | 0.67 | 23.8 | 2.9e-2 |
| 16 | every 2nd (17) | 1.57 | 10.2 | 1.1e-2 |
| 16 | every 4th (11), not corrected | 1.06 | 15.1 | 2.2e-2 |
| 150 | 8; the first of its length | 12.8 | 11.8 | 1.8e-2 |
| 150 | exact | 28.5 | 5.27 | |

On a third card (exact 6.12 frames/s) 8 of 30 computed gave 20.2 frames/s, 7 gave 22.5 and 6 gave 25.3; without
compiling 19.0, 21.2 and 23.8. Neither a search of cuDNN's algorithms nor compiling anew changed the exact path by 1%.

Two calls of an earlier run took 2.61 and 2.64 s (6.13 and 6.06 frames/s) for 16 frames, exact. The released code takes
6.65 s for 16 frames (2.4 frames/s, 7.4 GiB) and 64.3 s for 150 (2.33 frames/s). 150 frames are 171 computed ones:
keyframes are computed again with the windows between them. bf16 has an error of 8.0e-3 where fp16 has 8.4e-4. Random
weights change more slowly over the steps than trained ones may: the errors of skipping rank its settings, no more.

Floor: a guided step of 16 frames is 37.0 TFLOP and everything beside the loop 42.5, together 1.54 s (10.4 frames/s) at
the measured rate. The card stands at its 700 W limit, so that what saves energy counts as much as what saves time:
attention over pixels, repeated, draws 690 W at 1,680 to 1,830 of 1,980 MHz; the loop drew 680 W at 1,580 to 1,730 when
it took 2.91 s. Of a step, profiled, 19.5 ms are attention (over pixels and along time) and 12.0 the gated layers.
Attention over the 4,096 pixels of 16 frames, with and without the portrait's, takes 3.06 ms where cuDNN and the copies
that it needs take 4.2: the matrix units are busy for 47% of the kernel's time, the exponentials for 65%, and computing
some of them as polynomials does not help. The gated layers run at 520 (320 channels) to 700 TFLOP/s (1,280). Beside the
loop: 0.02 s for the portrait (0.06 the first time), 0.08 for the pictures. The first call compiles for 37 to 95 s.
"""

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
    **{f"{count} computed": StepCacheConfig(computed_steps=count) for count in (12, 8, 7, 6)},
    "every 2nd": StepCacheConfig(interval=2, depth=0),
    "every 4th, not corrected": StepCacheConfig(interval=4, depth=0, corrector=False),
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

    def latents(self, pipe: FollowYourEmojiPipeline, frames: int) -> torch.Tensor:
        """Latents of a run, to compare trajectories."""
        return pipe(
            self.portrait,
            self.driver(frames),
            num_inference_steps=self.steps,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
        ).frames.float()

    def warm_up(self, pipe: FollowYourEmojiPipeline, frames: int) -> float:
        """Seconds of a first call of two steps: libraries load, kernels are chosen, compiled and recorded."""
        started = time.perf_counter()
        pipe(self.portrait, self.driver(frames), num_inference_steps=2, output_type="pil")
        seconds = time.perf_counter() - started
        pipe(self.portrait, self.driver(frames), num_inference_steps=2, output_type="pil")
        return seconds

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
                output_type="pil",
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
            pipe(bench.portrait, bench.driver(frames), num_inference_steps=steps, output_type="pil")
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
    parser.add_argument("--quick", action="store_true", help="no counting, no single-precision reference")
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
    if not options.quick:
        result |= work(pipe, bench, 16)
        log({key: value for key, value in result.items() if key.endswith("tflop")})

    bench.warm_up(pipe, 16)
    eager = bench.run("exact, eager, plain modules", pipe, 16)
    reference, against = bench.kept["exact, eager, plain modules/16"], "error_eager"
    if not options.quick:
        reference, against = single_precision(pipe, bench), "error_fp32"
        bench.error(eager, against, reference)
        log(pipe.enable_fast_path())
        bench.warm_up(pipe, 16)
        bench.error(bench.run("exact, rearranged, eager", pipe, 16), against, reference)
        deep = StepCacheConfig(interval=3, order=1, depth=1)
        row = bench.run("deep half every 3rd, order 1, rearranged", pipe, 16, deep)
        bench.error(row, "error_exact", bench.kept["exact, rearranged, eager/16"])
    log(pipe.enable_fast_path(compile=not options.no_compile))
    label = "rearranged" if options.no_compile else "compiled"
    result["compile_s"] = bench.warm_up(pipe, 16)
    log(f"first call: {result['compile_s']:.0f} s")
    for _ in range(2):
        row = bench.run(f"exact, {label}", pipe, 16)
    bench.error(row, against, reference)
    exact = bench.kept[f"exact, {label}/16"]
    for name, cache in CACHES.items():
        row = bench.run(f"{name}, {label}", pipe, 16, cache)
        row["computed_steps"] = StepCache(cache, options.steps).computed_steps
        bench.error(row, "error_exact", exact)
    if time.perf_counter() - START < options.seconds:
        name = "8 computed"
        cached = bench.run(f"{name}, {label}", pipe, options.long, CACHES[name])
        cached["frames_computed"] = frames_computed(options.long)
    if time.perf_counter() - START < options.seconds:
        bench.run(f"exact, {label}", pipe, options.long)
        bench.error(cached, "error_exact", bench.kept[f"exact, {label}/{options.long}"])
    if options.kernels:
        kernels(pipe, bench, Path(options.kernels))
    report(result, options.steps)


def single_precision(pipe: FollowYourEmojiPipeline, bench: Bench) -> torch.Tensor:
    """The trajectory of the same weights computed in single precision, and that of bf16 beside it as a row."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    trained = ("denoiser", "appearance_net", "landmark_encoder", "image_prompt")

    def converted(dtype: torch.dtype) -> FollowYourEmojiPipeline:
        parts = {
            name: copy.deepcopy(part).to(dtype) if name in trained else part for name, part in pipe.components.items()
        }
        other = FollowYourEmojiPipeline(**parts)
        other.set_progress_bar_config(disable=True)
        return other

    reference = bench.latents(converted(torch.float32), 16)
    log("single-precision reference trajectory")
    if bench.device == "cuda":
        brain = converted(torch.bfloat16)
        bench.warm_up(brain, 16)
        bench.error(bench.run("exact, eager, plain modules, bf16", brain, 16), "error_fp32", reference)
    torch.cuda.empty_cache()
    return reference


def kernels(pipe: FollowYourEmojiPipeline, bench: Bench, path: Path) -> None:
    """Time on the GPU by kernel over a whole call of two steps, longest first."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiler:
        pipe(bench.portrait, bench.driver(16), num_inference_steps=2, output_type="pil")
        torch.cuda.synchronize()
    rows = [item for item in profiler.key_averages() if item.device_type.name == "CUDA" and item.self_device_time_total]
    rows.sort(key=lambda item: -item.self_device_time_total)
    path.write_text(
        "".join(f"{row.self_device_time_total / 1e3:9.3f} ms {row.count:6d}  {row.key[:160]}\n" for row in rows)
    )


def report(result: dict[str, Any], steps: int) -> None:
    """Table of all runs, the floor above it; JSON into $OUT where that is set."""
    print()
    if "step_tflop" in result and "matrix_tflops" in result:
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
        error = next(
            (f"{row[key]:.1e} of {key[6:]}" for key in ("error_fp32", "error_eager", "error_exact") if key in row), ""
        )
        numbers = f"{row['frames']:5d} {row['seconds']:8.2f} {row['fps']:8.2f} {row['peak_gib']:6.1f}"
        print(f"{row['name']:46} {numbers}  {error}")
    if folder := os.environ.get("OUT"):
        Path(folder, "animate.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
