"""`python -m fye_model.training --job job.json`, alone or under torchrun."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

from fye_model.processes import die_with_parent


def main() -> int:
    """Train what a job file says. Exit status: 0 finished, 143 stopped by SIGTERM, 1 with a message otherwise."""
    # loader workers import this file again: what is slow to import stays in here
    from fye_model.training.failures import Diverged, OutOfMemory
    from fye_model.training.job import read_job
    from fye_model.training.loop import train

    if "LOCAL_RANK" in os.environ:  # torchrun leaves its processes behind when it is killed
        die_with_parent()
    parser = argparse.ArgumentParser(prog="python -m fye_model.training", description="Run one stage of training.")
    parser.add_argument("--job", required=True, type=Path, help="job.json, see fye_model/training/job.py")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        result = train(read_job(parser.parse_args().job))
    except (ValueError, OSError, Diverged, OutOfMemory) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0 if result.finished else 128 + signal.SIGTERM


if __name__ == "__main__":
    sys.exit(main())
