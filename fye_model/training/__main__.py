"""`python -m fye_model.training --job job.json`, alone or under torchrun."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
from pathlib import Path

from fye_model.processes import die_with_parent
from fye_model.training.beginning import Laps, start_server
from fye_model.training.job import read_job


def main() -> int:
    """Train what a job file says. Exit status: 0 finished, 143 stopped by SIGTERM, 1 with a message otherwise."""
    laps = Laps()
    if "LOCAL_RANK" in os.environ:  # torchrun leaves its processes behind when it is killed
        die_with_parent()
    parser = argparse.ArgumentParser(prog="python -m fye_model.training", description="Run one stage of training.")
    parser.add_argument("--job", required=True, type=Path, help="job.json, see fye_model/training/job.py")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        job = read_job(parser.parse_args().job)
        if job.loader_workers:
            start_server()
    except (ValueError, OSError) as error:
        return _failed(error)
    # loader workers import this file again, and their server imports while this process does: what is slow comes here
    gc.disable()  # the search for cycles among the million objects that they make takes half a second
    from fye_model.training.failures import Diverged, OutOfMemory
    from fye_model.training.loader import LoaderFailed
    from fye_model.training.loop import train

    gc.freeze()
    gc.enable()
    laps.lap("imports")
    try:
        result = train(job, laps=laps)
    except (ValueError, OSError, Diverged, OutOfMemory) as error:
        return _failed(error)
    except LoaderFailed as error:
        _failed(error)
        sys.stdout.flush()
        os._exit(1)  # a worker that the kernel holds, for a file that never comes, would be waited for at the end
    return 0 if result.finished else 128 + signal.SIGTERM


def _failed(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
