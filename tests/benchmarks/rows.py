"""Planning and a fully cached run of many rows: `python -m tests.benchmarks.rows [COUNT] [--keep FOLDER]`.

A store of COUNT sources is made, each with one clip and landmarks: files of a few bytes, but real keys, receipts and
manifests of every per-clip stage of the data half. Then, each in a process of its own, `fye plan refresh` and
`fye refresh` look at it; what they take is what looking costs, not what work costs.

10,000 rows, three per-clip stages and screening, 2-core x86-64 VM, Python 3.11, prefect 3.8, start-up and imports
included, in processor seconds, because other work had the cores (a load of 3). Prefect's server is a process of its own
and is not in them:

| | seconds of processor | GB at most | before | at first |
|---|---|---|---|---|
| `fye plan refresh` | 3.7 to 4.0 | 0.271 | 6.1 and 0.367 | 8.6 and 0.65 |
| `fye refresh`, every receipt looked at, screening done | 8.4 to 9.3 | 0.406 | 12.9 and 0.581 | 16.7 and 0.99 |
| `fye refresh`, every stage cached | 5.4 to 5.9 | 0.394 | 9.4 and 0.500 | 10.2 and 0.87 |

So all three stay under 10 s and 0.5 GB. No file is left in `partial/`.

What brought the last third, in seconds of the middle line: nothing looks for cycles among records while they are made
(2.3), a server that starts is asked without reading the world's certificates (1.0), and receipts are read with half the
calls, their file names judged once a stage, and not read back as a manifest (1.0). Half of the memory of a record was
the set of its fields' names; manifests are written a thousand rows at a time (40 MB), clips compared 128 at once (50).
Before that: neither PyTorch (180 MB), SciPy (70) nor OpenCV (30) is loaded where nothing is computed; Prefect asks its
server without loading one of its own (80 MB, 1.4 s); tables are written a thousand rows at a time (60 MB); Arrow
allocates as the system does (60 MB). An earlier gain, from 18 s, was to ask for the versions of packages once and not
for every item.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flows.wiring import prepare_clips
from fye_model.config import Runtime
from tasks.clips import ClipsRow, CutClip
from tasks.engine.ahead import Plan
from tasks.engine.items import Item, Outcome, StageResult
from tasks.engine.receipts import Receipts
from tasks.engine.stage import AnyStage
from tasks.engine.store import Store
from tasks.faces.landmarker import resolve_landmarker
from tasks.footage.duplicates import SIDE, write_thumbnails
from tasks.landmarks import LandmarkRow
from tasks.media.span import TakenSpan
from tasks.workspace.recipes import load_recipe
from tasks.workspace.registry import claim_landmark_model
from tasks.workspace.run import Run
from tasks.workspace.sources import Root, register_root
from tests.tasks.test_screening import row as scored

FRAMES = 24
SIZES = {"width": 64, "height": 64, "source_width": 64, "source_height": 64}
TAKEN = TakenSpan(
    **SIZES,
    **dict.fromkeys(("corrupt_frames", "refused_packets", "missing_frames", "unordered_frames"), 0),
    **dict.fromkeys(("interlaced_frames", "held_frames", "rotation"), 0),
    **{"frames": FRAMES, "source_frames": FRAMES, "fps": 25.0, "source_fps": 25.0, "duration_s": 0.96, "start_s": 0.0},
    **{"source_codec": "h264", "source_format": "yuv420p", "decoder": "none", "tone_mapped": None, "notes": ()},
    **{"has_audio": False, "audio_problem": None, "mirrored": False},
)
PIECE = CutClip(
    index=0,
    frames=FRAMES,
    fps=25.0,
    start=0,
    end=FRAMES,
    affine=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    box=(10.0, 10.0, 50.0, 50.0),
    padded=0.0,
    faces_seen=1,
)
SCORED = scored("0").model_dump(include=set(LandmarkRow.model_fields))


class Filling(Run):
    """A run that makes up what each item's outputs are, and settles them as its worker would."""

    def stage(self, stage: AnyStage, items: Sequence[Item[Any]], plan: Plan | None = None) -> StageResult[Any]:
        keys = stage.keys(self.store, stage.settings(self.recipe), self.landmarker, items)
        receipts: Receipts[Any] = Receipts(self.store, stage)
        made: list[Outcome[Any]] = []
        for number, (item, key) in enumerate(zip(items, keys, strict=True)):
            scratch = self.store.scratch(f"{stage.name}/{key[:32]}")
            scratch.mkdir(parents=True)
            made.append(receipts.settle(item, key, scratch, fill(stage.name, number, scratch), 1.0))
        return StageResult(stage.name, made, "digest", 0.0, 0.0, len(made), "Completed")


def fill(stage: str, number: int, folder: Path) -> Any:
    """An item's files, of a few bytes, and its row."""
    content = f"{stage} {number}".encode()
    if stage == "clips":
        (folder / "000").mkdir()
        (folder / "000" / "clip.mp4").write_bytes(content)
        (folder / "000" / "frames.parquet").write_bytes(content)
        return ClipsRow(source=TAKEN, clips=(PIECE,), rejected=())
    for name in ("landmarks.parquet", "masks.parquet"):
        (folder / name).write_bytes(content)
    grey = np.random.default_rng(number).uniform(0, 255, (FRAMES, SIDE, SIDE))
    write_thumbnails(folder / "thumbnails.npy", list(grey.astype(np.float16)))
    return LandmarkRow.model_validate(SCORED)


def make(work: Path, videos: Path, count: int) -> None:
    """The store, and its sources: 20 of each subject."""
    for number in range(count):
        folder = videos / f"subject-{number // 20:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:06d}.mp4").write_bytes(f"source {number}".encode())
    store, asset = Store(work), resolve_landmarker(None)
    claim_landmark_model(store, asset.model)
    register_root(store, Root(str(videos)))
    prepare_clips(Filling(store, load_recipe("debug", []), Runtime(workers=0, device="cpu"), asset))


def measured(arguments: Sequence[str]) -> tuple[float, float, float]:
    """Seconds, processor seconds and GB at most of a command of `fye`, start-up and imports included."""
    code = (
        "import resource, sys; sys.argv = ['fye', *sys.argv[1:]]\n"
        "from flows.cli import app\n"
        "done = app(result_action='return_value')\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print('USED', used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6)\nsys.exit(done)"
    )
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    seconds = time.monotonic() - begun
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-4000:])
    processor_s, peak_gb = map(float, done.stdout.rpartition("USED ")[2].split()[:2])
    return seconds, processor_s, peak_gb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("count", nargs="?", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="a folder that holds such a store, or shall")
    given = parser.parse_args()
    root = given.keep or Path(
        tempfile.mkdtemp(prefix="fye-rows-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    )
    work = root / "work"
    try:
        if not (work / "dataset.json").exists():
            begun = time.monotonic()
            make(work, root / "videos", given.count)
            print(f"made {given.count} rows in {time.monotonic() - begun:.0f} s", flush=True)
        common = ["--work", str(work), "--recipe", "debug", "--workers", "0", "--set", "split.by=clip"]
        found: set[str] = set()
        for what in ("plan refresh", "refresh", "refresh"):
            seconds, processor_s, peak_gb = measured([*what.split(), *common])
            name = what if what not in found else f"{what}, cached"
            found.add(what)
            print(f"{name:<16} {seconds:6.1f} s, {processor_s:5.1f} s of processor, {peak_gb:.3f} GB", flush=True)
        summary = json.loads((work / "summary.json").read_text())
        states = {stage["stage"]: (stage["state"], stage["computed"], stage["seconds"]) for stage in summary["stages"]}
        for stage, told in states.items():
            print(f"  {stage:<14} {told[0]}, {told[1]} made, {told[2]} s")
        locks = [path for path in (work / "partial").rglob("*") if path.is_file()]
        print(f"{len(locks)} files are left in partial/")
    finally:
        if given.keep is None:
            shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
