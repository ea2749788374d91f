"""Milliseconds a training step at the paper's size: `python tests/benchmarks/train_step.py` on one NVIDIA GPU.

512x512, real sizes, random weights, cached latents, batches already on the card. Each setting is run as PyTorch has it
(autocast, clip, AdamW) and as the bf16 working weights have it, on the same batches from the same weights. On one
NVIDIA H200 with torch 2.11 (CUDA 13.0) and Triton 3.6; 777 to 793 TFLOP/s in a large matrix product; the later half of
20 steps timed (of 12 at stage 1, batch 16 and stage 2, batch 4):

| stage | batch | way | ms a step | samples/s | MFU | peak GiB | floor, ms |
|---|---|---|---|---|---|---|---|
| 1 | 4 | plain | 279 | 14.3 | 10% | 34.9 | 28 |
| 1 | 4 | working weights | 99 | 40.4 | 28% | 32.1 | |
| 1 | 16 | working weights | 272 | 58.8 | 41% | 51.0 | 110 |
| 1 | 32 | plain | 750 | 42.7 | 29% | 104.8 | 217 |
| 1 | 32 | working weights | 492 | 65.0 | 45% | 75.9 | |
| 2 | 2 | plain | 573 | 3.49 | 23% | 76.5 | 129 |
| 2 | 2 | working weights | 322 | 6.21 | 40% | 55.9 | |
| 2 | 4 | working weights | 619 | 6.46 | 42% | 95.5 | 263 |

With what `Savings` does without, another H200 (800 TFLOP/s), one call, the later half of 12 steps (8 at stage 2):

| stage | batch | way | ms a step | samples/s | MFU | peak GiB | floor, ms |
|---|---|---|---|---|---|---|---|
| 1 | 32 | working | 483.1 | 66.2 | 44.3% | 76.0 | 214 |
| 1 | 32 | working+norms | 467.3 | 68.5 | 45.8% | 76.0 | |
| 1 | 32 | working+sums | 479.1 | 66.8 | 44.7% | 76.1 | |
| 1 | 32 | working+tokens | 475.9 | 67.3 | 45.0% | 74.3 | |
| 1 | 32 | working+enlarge | 479.0 | 66.8 | 44.7% | 76.1 | |
| 1 | 32 | working+all | **448.9** | **71.3** | 47.7% | 74.3 | |
| 2 | 2 | working | 322.1 | 6.21 | 39.7% | 55.9 | 128 |
| 2 | 2 | working+all | 295.8 | 6.76 | 43.2% | 54.7 | |
| 2 | 4 | working | 616.8 | 6.48 | 41.4% | 95.7 | 256 |
| 2 | 4 | working+all | **564.1** | **7.09** | 45.3% | 93.1 | |

Losses of these steps are at most 1.1e-4 (stage 1) and 4e-5 (stage 2) from those without, relatively. What stays largest
is attention over pixels: 17.2 ms forward and backward of 32 x 4096 queries and 8192 keys in 8 heads of 40 by cuDNN (280
TFLOP/s), 29.9 by PyTorch's flash attention.

Floor: the work of a step (5.36 TFLOP a sample of stage 1, 51.1 a clip of stage 2) at the card's measured rate. Losses
of 20 steps of stage 2 are at most 3e-5 apart, relatively. In stage 1 the first four are at most 5e-5 apart at batch 32
and 1.3e-4 at batch 4; the later ones of that run cannot be compared, for it wrote over one of its four batches.

Of stage 1 at batch 32, 485 ms busy: attention 147 (backward over pixels alone 92: heads of 40 channels in tiles of 64),
convolutions 121, products 90, norms of layers 24 and of groups 22, elementwise 20, sums (gradients of biases) 20, Adam
18, gates, biases and joins 14, copies 6. Of stage 2 at batch 2, 320 ms: attention over pixels 112, products 76,
convolutions 42, norms 34, elementwise 17, gates 15, sums 7, frame attention 6.

One NVIDIA H100 (80 GB; 789 TFLOP/s), working weights, the later half of 8 steps; r: recomputing, o: masters and moments
in the computer's memory, with another training on the same card:

| stage | batch | ms a step | samples/s | MFU | peak GiB | floor, ms |
|---|---|---|---|---|---|---|
| 1 | 16 | 283 | 56.5 | 38% | 50.9 | 109 |
| 2 | 2 | 337 | 5.93 | 38% | 56.0 | 129 |
| 1 | 2 r | 90 | 22.3 | 15% | 29.9 | 14 |
| 2 | 1 r | 243 | 4.11 | 27% | 19.9 | 65 |
| 1 | 2 ro | 575 | 3.48 | 2% | 8.8 | 13 |
| 1 | 4 ro | 738 | 5.42 | 4% | 9.0 | 27 |
| 2 | 1 ro | 643 | 1.55 | 10% | 8.0 | 64 |

So a step over weights that lie in the computer's memory takes about 0.4 to 0.5 s; 9.2 s where the kernel reads them in
place.

The first step on a machine compiles the kernels: 28 to 47 s, 7 to 11 s once they are cached on its disk (warm-up,
choice of convolutions and capture).
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fye_model.config import NetworkConfig, TrainStageConfig
from fye_model.networks import Networks, build_networks
from fye_model.training.distributed import World
from fye_model.training.job import TrainJob
from fye_model.training.layers import NONE, Savings
from fye_model.training.objective import Objective
from fye_model.training.start import start
from fye_model.training.step import Step, make_step

TINY = NetworkConfig(
    block_out_channels=(8, 16),
    layers_per_block=1,
    attention_heads=2,
    cross_attention_dim=8,
    norm_num_groups=4,
    motion_heads=2,
    landmark_channels=(4, 4, 4, 4),
    qformer_layers=1,
    qformer_tokens=2,
    qformer_heads=2,
)
BATCHES = 4  # different ones, in turn


@dataclass(frozen=True)
class Setting:
    """One line of the table."""

    stage: int
    batch: int
    recompute: bool = False
    offload: bool = False


@dataclass(frozen=True)
class Found:
    """What one run measured. `tflops`: useful work a second, without what recomputation adds."""

    name: str
    setting: Setting
    first_s: float
    ms: float
    samples_s: float
    tflops: float
    peak_gib: float
    losses: list[float]


def log(*parts: object) -> None:
    """A line with the time of day."""
    print(time.strftime("[%H:%M:%S]"), *parts, flush=True)


def make_job(setting: Setting, working: bool, tiny: bool, graph: bool) -> TrainJob:
    """The job of a setting; its files are never read."""
    train = TrainStageConfig(
        steps=1000,
        batch_size=setting.batch,
        frames=1 if setting.stage == 1 else 16,
        precision="bf16",
        working_weights="bf16" if working else "fp32",
        gradient_checkpointing=setting.recompute,
    )
    networks = TINY if tiny else NetworkConfig()
    nowhere = Path("nowhere")
    return TrainJob(
        stage=1 if setting.stage == 1 else 2,
        index=nowhere,
        output=nowhere,
        init=nowhere if setting.stage == 2 else None,
        networks=networks,
        train=train,
        cuda_graph=graph,
        offload=setting.offload and working,
    )


def make_networks(job: TrainJob, device: torch.device, token_dim: int) -> Networks:
    """Random weights; layers that start at zero get small values, or nothing would flow."""
    torch.manual_seed(0)
    with torch.device(device):
        networks = build_networks(job.networks, token_dim)
        with torch.no_grad():
            for parameter in networks.parameters():
                if not parameter.any():
                    parameter.normal_(0, 0.01)
    return networks


def make_batches(job: TrainJob, device: torch.device, side: int, token_dim: int) -> list[dict[str, Tensor]]:
    """Batches as the loader makes them, on the card."""
    items, frames, pixels = job.train.batch_size, job.train.frames, side * 8
    random = torch.Generator(device).manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, device=device)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=random, device=device)

    batches = []
    for _ in range(BATCHES):
        batches.append(
            {
                "latents": normal(items, 4, frames, side, side),
                "noise": normal(items, 4, frames, side, side),
                "timestep": torch.randint(1000, (items,), generator=random, device=device),
                "landmarks": (uniform(items, 3, frames, pixels, pixels) * 255).to(torch.uint8),
                "expression_mask": uniform(items, frames, side, side),
                "face_mask": uniform(items, frames, side, side),
                "reference_latent": normal(items, 4, side, side),
                "image_tokens": normal(items, 257, token_dim),
                "covered": uniform(items, frames) < 0.5,
                "unconditional": uniform(items) < 0.1,
            }
        )
    return batches


def run_steps(step: Step, batches: list[dict[str, Tensor]], count: int) -> tuple[list[Tensor], float, float]:
    """Losses of `count` steps, seconds of the first, seconds a step of the later half."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else (lambda: None)
    losses: list[Tensor] = []
    wait()
    begun = time.perf_counter()
    first = half = begun
    for number in range(count):
        losses.append(step(iter([batches[number % BATCHES]]), 1e-5).terms["loss"].clone())
        if number == 0:
            wait()
            first = time.perf_counter()
        if number == count // 2 - 1:
            wait()
            half = time.perf_counter()
    wait()
    return losses, first - begun, (time.perf_counter() - half) / (count - count // 2)


def savings_of(way: str) -> Savings:
    """What `working+norms+sums` asks for behind its first word; `working+all` is all of it."""
    names = [field.name for field in fields(Savings)]
    asked = way.split("+")[1:]
    if unknown := set(asked) - {*names, "all"}:
        raise SystemExit(f"{way}: {', '.join(sorted(unknown))} is none of {', '.join(names)}, all")
    return replace(NONE, **{name: True for name in names if name in asked or "all" in asked})


def measure(setting: Setting, way: str, options: argparse.Namespace, work: dict[int, float]) -> Found:
    """Build, run and drop one setting."""
    working = way != "plain"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    token_dim, side = (16, 4) if options.tiny else (1024, 64)
    job = make_job(setting, working, options.tiny, not options.no_graph)
    place = torch.device("cpu") if job.offload else device
    trained, _ = start(job, make_networks(job, place, token_dim), None, device)
    objective = Objective(trained.networks, job)
    if not job.offload:
        objective.to(device)
    step = make_step(job, trained, objective, World(0, 1, device, None), savings_of(way))
    batches = make_batches(job, device, side, token_dim)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    losses, first, seconds = run_steps(step, batches, options.steps)
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    if options.profile and working:
        profile(step, batches, f"{way}, stage {setting.stage}, batch {setting.batch}")
    return Found(
        name=way,
        setting=setting,
        first_s=first,
        ms=seconds * 1e3,
        samples_s=setting.batch / seconds,
        tflops=work[setting.stage] * setting.batch / seconds / 1e12,
        peak_gib=peak,
        losses=[float(loss) for loss in losses],
    )


def count_work(stage: int, tiny: bool) -> float:
    """Floating-point operations of one sample's forward and backward pass, as PyTorch counts them."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    token_dim, side = (16, 4) if tiny else (1024, 64)
    job = make_job(Setting(stage, 1), False, tiny, False)
    networks = make_networks(job, device, token_dim).train()
    networks.set_stage(stage)
    objective = Objective(networks, job).to(device)
    batch = make_batches(job, device, side, token_dim)[0]
    with FlopCounterMode(display=False) as counter:
        objective(batch).total.backward()
    return float(counter.get_total_flops())


def matrix_rate() -> float:
    """FLOP/s of a large bf16 product of random numbers: what the card can do."""
    if not torch.cuda.is_available():
        return 1e12
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(20):
        a @ b
    torch.cuda.synchronize()
    return 20 * 2 * 8192**3 / (time.perf_counter() - begun)


KINDS = {
    "attention": ("fmha", "flash", "cudnn_generated_fort_native_sdpa", "sdpa"),
    "frame attention": ("_attend",),
    "norms of groups": ("_moments", "_statistics", "_apply", "_gradient"),
    "norms of layers": ("_sum_and_norm", "layer_norm", "LayerNorm", "GammaBeta"),
    "gates, bias, join": ("_gate", "_bias_and", "_join"),
    "adam": ("_adam",),
    "convolutions": ("conv", "xmma", "implicit", "fprop", "dgrad", "wgrad"),
    "turning": ("nchwToNhwc", "nhwcToNchw", "transpose"),
    "products": ("gemm", "nvjet", "cutlass", "splitK", "cublas"),
    "copies": ("copy", "Memcpy", "Cat", "fill", "Memset"),
    "sums": ("_sum_rows", "reduce"),
    "elementwise": ("elementwise",),
}


def profile(step: Step, batches: list[dict[str, Tensor]], title: str) -> None:
    """Print where the device's time of a step goes, by kind and by kernel."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as found:
        step(iter([batches[0]]), 1e-5)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    kinds: dict[str, float] = defaultdict(float)
    kernels: dict[str, tuple[float, int]] = {}
    for event in found.key_averages():
        if event.device_type != torch.autograd.DeviceType.CUDA or not event.self_device_time_total:
            continue
        name, ms = event.key, event.self_device_time_total / 1e3
        kernels[name] = (ms, event.count)
        lower = name.lower()
        kind = next((k for k, words in KINDS.items() if any(word.lower() in lower for word in words)), "rest")
        kinds[kind] += ms
    log(f"profile of {title}: {sum(kinds.values()):.1f} ms busy, {sum(c for _, c in kernels.values())} kernels")
    for kind, ms in sorted(kinds.items(), key=lambda pair: -pair[1]):
        log(f"  {ms:8.2f} ms {kind}")
    for name, (ms, count) in sorted(kernels.items(), key=lambda pair: -pair[1][0])[:45]:
        log(f"  {ms:8.2f} ms {count:5d}x {name[:150]}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "settings",
        nargs="*",
        default=["1x4", "1x16", "1x32", "2x1", "2x2", "2x4"],
        help="stage x batch; with r: recomputing, with o: masters and moments in the computer's memory",
    )
    parser.add_argument(
        "--ways",
        nargs="*",
        default=["plain", "working"],
        help="plain, working; or working+norms+sums+…: with savings of the layers that are not on yet",
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--profile", action="store_true", help="where the time of the working way goes")
    parser.add_argument("--no-graph", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="small networks, to try the benchmark itself")
    parser.add_argument("--out", type=Path, help="all numbers as JSON")
    return parser.parse_args()


def main() -> None:
    options = parse()
    rate = matrix_rate()
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    log(f"{card}, torch {torch.__version__}, {rate / 1e12:.0f} TFLOP/s in a large product")
    settings = []
    for text in options.settings:
        stage, batch = text.rstrip("ro").split("x")
        settings.append(Setting(int(stage), int(batch), "r" in text, "o" in text))
    work = {stage: count_work(stage, options.tiny) for stage in sorted({s.stage for s in settings})}
    log("work of a sample:", {stage: f"{value / 1e12:.2f} TFLOP" for stage, value in work.items()})
    results: list[Found] = []
    for setting in settings:
        losses = {}
        for way in options.ways:
            gc.collect()
            torch.cuda.empty_cache()
            try:
                found = measure(setting, way, options, work)
            except torch.cuda.OutOfMemoryError:
                log(f"{way} {setting}: out of memory")
                continue
            floor = work[setting.stage] * setting.batch / rate * 1e3
            log(
                f"{way} stage {setting.stage} batch {setting.batch}{' recomputing' if setting.recompute else ''}"
                f"{' offloaded' if setting.offload else ''}: "
                f"{found.ms:.1f} ms a step (floor {floor:.0f}), {found.samples_s:.2f} samples/s, MFU "
                f"{found.tflops * 1e12 / rate:.1%}, peak {found.peak_gib:.1f} GiB, first step {found.first_s:.1f} s"
            )
            results.append(found)
            losses[way] = found.losses
        first = next(iter(losses.values()), [])
        for name, values in losses.items():
            apart = max(abs(a - b) / abs(a) for a, b in zip(first, values, strict=True))
            log(f"  losses {name:8s}", " ".join(f"{value:.4f}" for value in values))
            log(f"  at most {apart:.2e} from the first way's, relatively")
        if options.out is not None:
            options.out.write_text(json.dumps([asdict(result) for result in results], indent=1))


if __name__ == "__main__":
    main()
