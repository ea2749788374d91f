"""Samples a second of training on several cards: `python tests/benchmarks/train_cards.py --cards 1 2` on one host.

The paper's networks, stage 1, bf16 working weights, batches drawn from files by loader workers, processes by torchrun.
NVIDIA H200s of one host, 16 samples a card, before `Savings`: 59.2 samples/s on one, 110.0 on two (1.86 times, the two
in a later call on a like machine), no wait for data, 50.8 GiB a card. The first step came after 70 s where kernels had
to be compiled, after 42 where they had been.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fye_model.config import NetworkConfig, TrainStageConfig
from fye_model.training.job import TrainJob, launch_command
from tests.benchmarks.load import make_clips
from tests.benchmarks.train_step import TINY

_LINE = re.compile(r"^step (\d+)/.* ([\d.]+) samples/s (?:MFU (\d+)% )?wait (\d+)% peak (\d+) MiB")


def measure(cards: int, batch: int, steps: int, folder: Path, index: Path, tiny: bool) -> list[re.Match[str]]:
    """Train until `steps`, from the store by torchrun, and kill it; returns what its status lines say."""
    output = folder / f"cards-{cards}"
    job = TrainJob(
        stage=1,
        index=index,
        output=output,
        networks=TINY if tiny else NetworkConfig(),
        train=TrainStageConfig(
            steps=100_000,
            batch_size=batch * cards,
            checkpoint_every=100_000,
            validate_every=100_000,
            precision="bf16",
            working_weights="bf16",
        ),
        loader_workers=0 if tiny else 8,
    )
    file = folder / f"cards-{cards}.json"
    job.write(file)
    lines = []
    command = launch_command(file, "torchrun", cards)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"  {line.rstrip()}", flush=True)
            found = _LINE.match(line)
            if found:
                lines.append(found)
            if found and int(found[1]) >= steps:
                os.killpg(process.pid, signal.SIGKILL)  # a checkpoint of this size would take longer than all steps
                break
    return lines


def main() -> None:
    """Print a line for each number of cards, and how it scales."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cards", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--batch", type=int, default=16, help="of each card")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--tiny", action="store_true", help="small networks, to try the benchmark itself")
    options = parser.parse_args()
    alone = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        index = make_clips(folder / "data", token_dim=16 if options.tiny else 1024)
        for cards in dict.fromkeys(options.cards):
            lines = measure(cards, options.batch, options.steps, folder, index, options.tiny)
            later = lines[len(lines) // 2 :]
            if not later:
                raise SystemExit(f"{cards} cards: training ended before it told its speed; its lines are above")
            rate = sum(float(line[2]) for line in later) / len(later)
            waits = max(int(line[4]) for line in later)
            alone = alone or rate / cards
            print(
                f"{cards} cards, {options.batch} a card: {rate:.1f} samples/s, {rate / alone:.2f} times one, wait for "
                f"data {waits}%, peak {int(later[-1][5]) / 1024:.1f} GiB",
                flush=True,
            )


if __name__ == "__main__":  # loader workers import this file again
    main()
