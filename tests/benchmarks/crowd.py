"""What the machinery costs an item under Ray: `python -m tests.benchmarks.crowd [COUNT] [--stages N] [--keep FOLDER]`.

COUNT small files go through a chain of per-item stages whose work is one line, with two workers, in a flow: keys,
workers' round trips, receipts, progress and summary are all that there is. Then again, with all done; then two runs at
once in a new work folder, where each item has to be made once. By hand, not collected.

1,000 items and four stages on a 2-core x86-64 VM on which other work ran (a load of 8); of the flow's own process,
start-up and imports included; servers, Ray and its workers are processes of their own:

| | s | s of processor | GB at most |
|---|---|---|---|
| all to do, 22.5 ms an item and stage; with 60 items it takes 35 s and 5.7 s of processor | 90 | 11.1 | 0.50 |
| all done | 14 | 4.1 | 0.44 |
| two at once in a new work folder | 84 | | |

So the flow's own process takes 1.4 ms of processor for an item and stage. All 4,000 were made, none more than once,
also by two at once. More items were not tried under Ray; `rows.py` has what looking at 10,000 costs.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from fye_model.config import Config, Runtime
from fye_model.files import file_digest
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import NOTHING, Given, Item, Nothing, Worker
from tasks.engine.stage import Context, Stage
from tasks.engine.store import FileRef, Store

CALLS = "FYE_CROWD_CALLS"
RUNTIME = Runtime(workers=2, device="cpu")


class LineRow(Config):
    """How many lines a file has."""

    lines: int


class LineWorker(Worker[Nothing, LineRow]):
    """Adds a line to a file, and notes who was called."""

    def __init__(self, settings: Nothing, context: Context) -> None:
        self.calls = Path(os.environ[CALLS])

    def process(self, item: Given[Nothing]) -> LineRow:
        lines = [*item.files["text"].read_text().splitlines(), item.name]
        (item.out / "text.txt").write_text("\n".join(lines))
        with (self.calls / f"{os.getpid()}").open("a") as log:
            log.write(f"{len(lines)} {item.name}\n")
        return LineRow(lines=len(lines))


def stage(number: int) -> Stage[Nothing, Nothing, LineRow]:
    return Stage(
        f"crowd_{number}",
        "1",
        settings=lambda recipe: NOTHING,
        reads={"text": Kind.SOURCE},
        writes={"text.txt": Kind.REPORT},
        row=LineRow,
        open=LineWorker,
        resources=Resources(memory_gib=0.2),
    )


def go(folder: Path, work: str, stages: int) -> None:
    """One run, in this process; prints its seconds, processor seconds and GB at most."""
    begun = time.monotonic()
    from flows.server import start_server

    start_server()
    from prefect import flow

    from flows.ending import finish_run
    from flows.running import running
    from tasks.workspace.run import Run
    from tasks.workspace.summary import Results
    from tests.debug import DEBUG
    from tests.tasks.engine.test_device import ASSET

    @flow(name="crowd", log_prints=False)
    def crowd() -> object:
        run = Run(Store(folder / work), DEBUG, RUNTIME, ASSET)
        with running(run, "crowd"):
            files = {path.stem: FileRef(str(path), file_digest(path), path.stat().st_size) for path in sources(folder)}
            for number in range(stages):
                items = [Item(name, name, {"text": ref}, NOTHING) for name, ref in files.items()]
                done = run.stage(stage(number), items).all_done()
                files = {name: outcome.ref("text.txt") for name, outcome in done.items()}
            return finish_run(run, "crowd", Results())

    crowd()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"USED {time.monotonic() - begun} {used.ru_utime + used.ru_stime} {used.ru_maxrss / 1e6}", flush=True)


def sources(folder: Path) -> list[Path]:
    return sorted((folder / "sources").iterdir())


def start(folder: Path, work: str, stages: int, home: str) -> subprocess.Popen[str]:
    (calls := folder / f"calls-{work}").mkdir(exist_ok=True)
    words = [sys.executable, "-c", "import sys; from pathlib import Path; from tests.benchmarks.crowd import go\n"]
    words[-1] += f"go(Path({str(folder)!r}), {work!r}, {stages})"
    there = {**os.environ, CALLS: str(calls), "PREFECT_HOME": str(folder / home)}
    return subprocess.Popen(words, env=there, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[float, float, float]:
    said, errors = process.communicate()
    if process.returncode:
        sys.exit(said[-2000:] + errors[-4000:])
    seconds, processor_s, peak_gb = map(float, said.rpartition("USED ")[2].split())
    return seconds, processor_s, peak_gb


def made(folder: Path, work: str) -> Counter[str]:
    """How often each item of each stage was worked on."""
    logs = (folder / f"calls-{work}").iterdir()
    return Counter(line for log in logs for line in log.read_text().splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("count", nargs="?", type=int, default=10_000)
    parser.add_argument("--stages", type=int, default=4)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="fye-crowd-"))
    try:
        (folder / "sources").mkdir(parents=True)
        for number in range(given.count):
            (folder / "sources" / f"{number:06d}.txt").write_text(f"source {number}")
        total = given.count * given.stages
        for what in ("all to do", "all done"):
            seconds, processor_s, peak_gb = ended(start(folder, "work", given.stages, "prefect"))
            each = f", {1000 * seconds / total:.1f} ms an item and stage" if what == "all to do" else ""
            print(f"{what:<12} {seconds:6.1f} s, {processor_s:5.1f} s of processor, {peak_gb:.2f} GB{each}", flush=True)
        begun = time.monotonic()
        pair = [start(folder, "both", given.stages, f"prefect-{name}") for name in "ab"]
        for process in pair:
            ended(process)
        print(f"two at once  {time.monotonic() - begun:6.1f} s")
        for work in ("work", "both"):
            often = made(folder, work)
            print(f"{work}: {len(often)} of {total} made, {sum(count > 1 for count in often.values())} more than once")
    finally:
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
