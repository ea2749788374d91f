"""Graphics memory of an animation at the paper's size: `python tests/benchmarks/memory.py [--leave GIB]` on a GPU.

512x512, a window of 16 frames, guidance, half precision, random weights, as `fye animate` loads a model. For each way
of saving (`fye_model/animation/memory.py`): what is estimated, what PyTorch held at most while the portrait was
encoded, frames drawn and decoded, and seconds for 30 steps. `--leave 7.2` first takes all of the card but 7.2 GiB
in another process, which is what a card of 8 GiB has beside CUDA's own, and draws with what is then chosen.

NVIDIA H200, torch 2.11, fp16, not compiled; GiB at most, seconds for 16 frames, relative error of the latents:

| | estimated | encoding | drawing | decoding | seconds | error |
|---|---|---|---|---|---|---|
| everything stays | 9.8 | 8.4 | 12.7, of it 9.5 in use | 12.7 | 2.9 | |
| the portrait's networks wait outside | 7.6 | 7.0 | 7.0 | 7.0 | 3.7 | 0 |
| and guidance in halves | 5.9 | 6.0 | 5.8 | 5.8 | 5.8 | 6.0e-4 |

With 7.2 GiB left the last way is chosen: 5.9 GiB at most, 2.0 free, 5.6 s (2.9 frames/s); with 6.0 left likewise,
0.8 free.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fye_model.animation.folder import load_pipeline, save_model
from fye_model.animation.memory import GIB, Saving, needed, save_more
from fye_model.animation.pipeline import FollowYourEmojiPipeline
from fye_model.config import SamplingConfig
from tests.benchmarks.animate import Bench, build, log
from tests.fye_model.animation.tiny import describe_tiny

_HOLD = """
import sys, torch
free, total = torch.cuda.mem_get_info()
held = torch.empty(int(free - float(sys.argv[1]) * 2**30), dtype=torch.uint8, device="cuda")
print("held", flush=True)
sys.stdin.read()
"""


def measure(
    pipeline: FollowYourEmojiPipeline, bench: Bench, steps: int
) -> tuple[float, dict[str, float], torch.Tensor]:
    """Seconds of a video of one window, GiB that were held at most in each part of it, and its latents."""
    held: dict[str, float] = {}
    kept: list[torch.Tensor] = []

    def seen(name: str) -> None:
        held[name] = torch.cuda.max_memory_reserved() / GIB
        torch.cuda.reset_peak_memory_stats()

    encode, decode = pipeline.encode_portrait, pipeline.decode_latents

    def encoded(*given):  # type: ignore[no-untyped-def]
        found = encode(*given)
        seen("encoding")
        return found

    def decoded(latents: torch.Tensor) -> torch.Tensor:
        seen("drawing")
        kept.append(latents.float().cpu())
        found = decode(latents)
        seen("decoding")
        return found

    pipeline.encode_portrait, pipeline.decode_latents = encoded, decoded  # type: ignore[method-assign]
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    try:
        pipeline(
            bench.portrait,
            bench.driver(16),
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
        )
    finally:
        del pipeline.encode_portrait, pipeline.decode_latents  # type: ignore[method-assign]
    return time.perf_counter() - begun, held, torch.cat(kept, dim=2)


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--leave", type=float, help="GiB of the card that are left free")
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    bench = Bench("cuda", 512, options.steps)
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "model"
        save_model(build("cuda", torch.float16, False), model, describe_tiny(size=512, sampling=SamplingConfig()))
        gc.collect()
        torch.cuda.empty_cache()
        log("made")
        if options.leave is None:
            exact = None
            for saving in Saving:
                pipeline = load_pipeline(model, "cuda", log)
                estimated = needed(pipeline, pipeline.description, saving) / GIB
                while pipeline.saving < saving:
                    save_more(pipeline)
                measure(pipeline, bench, 2)
                took, held, latents = measure(pipeline, bench, options.steps)
                exact = latents if exact is None else exact
                apart = float((latents - exact).norm() / exact.norm())
                parts = ", ".join(f"{name} {gib:.2f}" for name, gib in held.items())
                log(f"{saving.name}: estimated {estimated:.1f} GiB; {parts}; {took:.2f} s; {apart:.1e} apart")
                del pipeline
            return
        with subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(options.leave)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            pipeline = load_pipeline(model, "cuda", log)
            measure(pipeline, bench, 2)
            took, held, _ = measure(pipeline, bench, options.steps)
            parts = ", ".join(f"{name} {gib:.2f}" for name, gib in held.items())
            free = torch.cuda.mem_get_info()[0] / GIB
            log(f"{options.leave:g} GiB left: {pipeline.saving.name}; {parts} GiB, {free:.2f} free; {took:.2f} s")
            assert holder.stdin is not None
            holder.stdin.close()


if __name__ == "__main__":
    main()
