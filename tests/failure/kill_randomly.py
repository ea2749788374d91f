"""Random kills and cancellations of whole runs: `python -m tests.failure.kill_randomly kills|cancels|agree [COUNT] …`.

By hand, not collected: a round takes a minute. `kills`: the debug recipe from videos to report; at a random moment a
random process of the run (the command, Prefect's server, Ray's own, its workers, the trainer) gets SIGKILL. Where the
command then ends with an error it is given once more. The store must be what an undisturbed run leaves, byte for byte
but for seconds and dates; no process may be left, no Ray folder, and no run that Prefect takes for Running.

`cancels`: training without end; at a random moment the command gets SIGTERM, as from a scheduler. It must end within
15 s with a checkpoint that is no older than the last one, and leave no process.

Moment (a stage that has begun, and seconds after it) and victim follow from the seed, as far as a machine's pace can be
repeated; each round prints its own, and `kills 1 --seed N` tries one again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tasks.plan import STAGES as PLANNED
from tests.debug import DEBUG

ROOT = Path(__file__).resolve().parents[2]
FYE = str(Path(sys.executable).with_name("fye"))
MARK = "FYE_TEST_MARK"
MOST_S = 1200.0  # of a command, on a busy machine
LEAVE_S = 15.0  # in which what was started must be gone, and a cancelled run must end
TOLD = ("report", "evaluation", "history.json", "summary.json", "manifest.parquet", "hashes.json")  # of times and dates
STAGES = [stage.name for stage in PLANNED]
NEVER = ["--set", "train.stage1.steps=1000000", "--set", "train.stage1.checkpoint_every=1000000"]
NEVER += ["--set", "train.stage1.validate_every=1000000"]


@dataclass
class Place:
    """Where rounds are tried: one folder of videos, one Prefect home, and a store for each."""

    folder: Path

    @property
    def videos(self) -> Path:
        return self.folder / "videos"

    def environment(self, mark: str) -> dict[str, str]:
        """Of a command with a server and a Ray of its own; every process of it inherits the mark."""
        outside = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
        ours = {"PREFECT_HOME": str(self.folder / "prefect"), "RAY_TMPDIR": str(self.folder / "ray")}
        return {**outside, **ours, MARK: mark, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def command(self, work: Path, more: list[str]) -> list[str]:
        words = ["retrain", "--videos", str(self.videos), "--work", str(work), "--recipe", DEBUG.name]
        return [FYE, *words, "--workers", "1", "--device", "cpu", *more]

    def start(self, work: Path, mark: str, more: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{work.name}.log").open("ab") as log:
            return subprocess.Popen(
                self.command(work, more),
                env=self.environment(mark),
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def finish(self, work: Path, mark: str) -> float:
        """Run the command to its end; its seconds. RuntimeError where it fails."""
        begun = time.monotonic()
        code = self.start(work, mark, []).wait(MOST_S)
        if code:
            raise RuntimeError(f"the command ended with {code}; see {self.folder / work.name}.log")
        return time.monotonic() - begun


def marked(mark: str) -> Iterator[tuple[int, str]]:
    """(id, what it is) of the living processes that carry a mark in their environment."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}\0".encode() not in (process / "environ").read_bytes() + b"\0":
                continue
            words = (process / "cmdline").read_text().split("\0")
            if (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                yield int(process.name), kind(words)
        except OSError:
            continue


def kind(words: list[str]) -> str:
    """A process by what it does in a run."""
    line = " ".join(words)
    known = {
        "uvicorn": "Prefect's server",
        "fye_model.training": "trainer",
        "gcs_server": "Ray's gcs",
        "raylet/raylet": "raylet",
        "ray::": "Ray worker",
        "default_worker": "Ray worker, idle",
        "bin/fye ": "command",
    }
    named = [name for piece, name in known.items() if piece in line]
    return named[0] if named else Path(words[0]).name + " " + " ".join(words[1:3])[-40:]


def gone(mark: str, within_s: float) -> str | None:
    """None as soon as no process carries the mark; else, after the time, which do."""
    deadline = time.monotonic() + within_s
    while left := list(marked(mark)):
        if time.monotonic() > deadline:
            return "left: " + ", ".join(sorted(name for _, name in left))
        time.sleep(0.1)
    return None


def content(work: Path) -> dict[str, str]:
    """What each file of a store holds, without what tells of times: {relative name: digest}."""
    found = {}
    for path in sorted(work.rglob("*")):
        name = path.relative_to(work)
        if path.is_symlink():
            found[name.as_posix()] = os.readlink(path)
        elif path.is_file() and not name.parts[-1].startswith("events.out.tfevents"):
            if "report" in (name.parts[1:2] or name.name.split("-"))[0]:  # its key is made of all that is told
                name = Path(*name.parts[:1], "report")
            found[name.as_posix()] = "told" if _tells_times(name) else _digest(path)
    return found


def _tells_times(name: Path) -> bool:
    return name.parts[0] in TOLD or name.name == "report"


def _digest(path: Path) -> str:
    if path.name == "receipt.json":
        receipt = json.loads(path.read_text())
        return _short(json.dumps({**receipt, "seconds": 0}).encode())
    if path.parent.parent.name == "stages":
        import pyarrow.parquet as pq

        rows = [{**row, "seconds": 0} for row in pq.read_table(path).to_pylist()]
        return _short(json.dumps(rows, default=str).encode())
    if path.parent.name == "results":
        kept = json.loads(path.read_text())
        return _short(json.dumps({**kept, "fresh": 0, "manifest_size": 0}).encode())
    return _short(path.read_bytes())


def _short(data: bytes) -> str:
    return sha256(data).hexdigest()[:16]


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Names that only one store has, or that hold something else there."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def not_ended(home: Path) -> list[str]:
    """Flow and task runs that Prefect's data base takes for going on."""
    with sqlite3.connect(f"file:{home / 'prefect.db'}?mode=ro", uri=True) as data:
        ended = "('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')"
        found = []
        for table in ("flow_run", "task_run"):
            found += data.execute(f"select name, state_name from {table} where state_type not in {ended}").fetchall()
    return [f"{name}: {state}" for name, state in found]


def kill_once(place: Place, seed: int, undisturbed: dict[str, str]) -> dict[str, Any]:
    """One round of `kills`."""
    chance, work, mark = random.Random(seed), place.folder / f"kill-{seed}", f"kill-{seed}"
    stage, moment = chance.choice([None, *STAGES]), chance.uniform(0.2, 3.0)
    process = place.start(work, mark, [])
    log = place.folder / f"{work.name}.log"
    while stage and f"- {stage}: " not in log.read_text(errors="replace") and process.poll() is None:
        time.sleep(0.05)
    time.sleep(moment if stage else 3 * moment)
    alive = sorted(marked(mark))
    victim = chance.choice(alive) if alive else (0, "none: it had ended")
    if alive:
        os.kill(victim[0], signal.SIGKILL)
    code = process.wait(MOST_S)
    problems = [gone(mark, LEAVE_S)]
    again_s = 0.0
    if code:
        try:
            again_s = place.finish(work, mark)
        except RuntimeError as error:
            problems.append(str(error))
        problems.append(gone(mark, LEAVE_S))
    odd = differences(content(work), undisturbed) if not any(problems) else []
    problems += [f"{len(odd)} files differ: {', '.join(odd[:4])}"] if odd else []
    problems += not_ended(place.folder / "prefect")
    problems += [f"left: {path.name}" for path in (place.folder / "ray").glob("fye-ray-*")]
    if not any(problems):
        shutil.rmtree(work)
    ended = "went on" if not code else f"ended with {code}, again {again_s:.0f} s"
    at = f"{stage or 'start'} + {moment if stage else 3 * moment:.1f}"
    return {"seed": seed, "at": at, "victim": victim[1], "run": ended, "problems": told(problems)}


def cancel_once(place: Place, seed: int) -> dict[str, Any]:
    """One round of `cancels`, in one work folder: each goes on where the one before it stopped."""
    chance, work, mark = random.Random(seed), place.folder / "cancelled", f"cancel-{seed}"
    before = latest(work)
    process = place.start(work, mark, NEVER)
    deadline = time.monotonic() + MOST_S
    while not (trainers := [number for number, name in marked(mark) if name == "trainer"]):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"training did not begin; see {place.folder}/cancelled.log")
        time.sleep(0.1)
    moment = chance.uniform(0.0, 15.0)  # imports, the first step, steps
    time.sleep(moment)
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code = process.wait(MOST_S)
    took = time.monotonic() - begun
    after = latest(work)
    problems = [gone(mark, LEAVE_S)]
    problems += [f"it took {took:.1f} s"] if took > LEAVE_S else []
    problems += [f"checkpoint {after} after {before}"] if after < before or (after == 0 and moment > 8) else []
    ran = f"ended with {code} in {took:.1f} s, step {before} → {after}"
    victim = f"command, SIGTERM ({len(trainers)} trainer)"
    return {
        "seed": seed,
        "at": f"train_stage1 + {moment:.1f}",
        "victim": victim,
        "run": ran,
        "problems": told(problems),
    }


def latest(work: Path) -> int:
    """The step of the newest checkpoint in progress, 0 for none."""
    found = [int(path.name.rpartition("-")[2]) for path in work.glob("partial/train_stage1/*/checkpoint-*")]
    return max(found, default=0)


def told(problems: list[str | None]) -> str:
    return "; ".join(filter(None, problems)) or "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("what", choices=["kills", "cancels", "agree"], help="agree: whether two undisturbed runs do")
    parser.add_argument("count", nargs="?", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each following one has the next")
    parser.add_argument("--keep", type=Path, help="a folder for stores and logs, kept; one that is there goes on")
    given = parser.parse_args()
    place = Place(given.keep or Path(tempfile.mkdtemp(prefix="fye-kill-", dir="/tmp")))
    (place.folder / "ray").mkdir(parents=True, exist_ok=True)
    if not place.videos.is_dir():
        from tasks.samples.clips import make_samples

        make_samples(place.videos / "person", 2, 1.6, 240)
    undisturbed = place.folder / "undisturbed"
    if given.what != "cancels" and not (undisturbed / "summary.json").exists():
        place.finish(undisturbed, "undisturbed")
    expected = content(undisturbed)
    if given.what == "agree":
        place.finish(place.folder / "another", "another")
        print(differences(expected, content(place.folder / "another")) or "alike")
        return
    bad: Counter[str] = Counter()
    print(f"in {place.folder}\n| seed | at, s after | victim | the run | problems |\n|---|---|---|---|---|", flush=True)
    for seed in range(given.seed, given.seed + given.count):
        row = kill_once(place, seed, expected) if given.what == "kills" else cancel_once(place, seed)
        bad[re.sub(r"\d+", "N", row["problems"])] += 1
        print("| " + " | ".join(str(value) for value in row.values()) + " |", flush=True)
    print(f"{given.count} rounds: {bad['none']} without a problem", flush=True)
    if given.keep is None and bad["none"] == given.count:
        shutil.rmtree(place.folder)
    sys.exit(bad["none"] != given.count)


if __name__ == "__main__":
    main()
