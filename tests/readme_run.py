"""Every `fye` command of the README, run one after the other at debug size: `python -m tests.readme_run [--keep DIR]`.

By hand, not collected: minutes. The words are the README's own. What they are run on is made here: two short clips for
each folder of videos, the debug recipe for every other one, a CPU for a GPU, one seed for three. Prints a table: the
command, its exit status, its seconds; ends with 1 where a status is another than it should be.
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
from dataclasses import dataclass
from pathlib import Path

from tests.commands import Written, written

FYE = [sys.executable, "-m", "flows.cli"]
MOST_S = 1800.0  # of a command, on a busy machine
RECIPE = "extends: debug\npromotion: {clips: 1, better: [], not_worse: []}\n"


@dataclass(frozen=True)
class Care:
    """What a command needs. before: what is done first; ends: exit statuses that are right; skip: why it is not run."""

    before: tuple[str, ...] = ()
    ends: tuple[int, ...] = (0,)
    skip: str = ""


_PLAIN = Care()
# by the parser's name of the command; `python -m pytest tests/test_commands.py` compares it with the README
CARE = {
    "retrain": _PLAIN,
    "show": _PLAIN,  # config show; assets
    "refresh": _PLAIN,
    "capture": _PLAIN,
    "stats": _PLAIN,
    "coverage": _PLAIN,
    "review": _PLAIN,
    "card": _PLAIN,
    "plan": _PLAIN,
    "retry": Care(ends=(0, 1)),  # 1 where nothing was set aside for that
    "stage": _PLAIN,
    "doctor": Care(ends=(0, 1)),  # it is the machine that it judges
    "history": _PLAIN,
    "verify": _PLAIN,
    "gc": _PLAIN,
    "animate": _PLAIN,
    "animate_many": _PLAIN,
    "evaluate": _PLAIN,
    "import_release": Care(skip="needs the released weights; tests/fye_model/release runs it on such of tiny size"),
    "studio": Care(skip="serves a page until it is stopped; tests/tasks/studio opens it in a browser"),
    "live": Care(skip="needs a camera and a player; tests/tasks/jobs/test_live.py runs it on a file into a pipe"),
    "build": _PLAIN,  # of benches and studies
    "score": _PLAIN,
    "compare": Care(before=("copy work/demo work/other",)),
    "retrain_weekly": _PLAIN,
    "promoted": _PLAIN,
    "rollback": Care(before=("fye retrain-weekly --work /store/hdtf --recipe lab.yaml --set train.stage2.steps=3",)),
    "ablate": _PLAIN,
    "fetch": _PLAIN,  # assets fetch
}
WORDS = {
    "cuda": "cpu",
    "--processes 8": "",
    "--seeds 3": "--seeds 1",
    "--recipe demo": "--recipe lab.yaml",
    "--recipe small": "--recipe lab.yaml",
    "MODEL": "work/demo/model",
    "OUR_VIDEOS": "work/bench/videos",
    "THEIR_VIDEOS": "their_videos",
}


def prepare(folder: Path) -> None:
    """Inputs under the names that the README gives them; `work/demo` is a debug run in place of `make demo`."""
    from PIL import Image
    from skimage import data

    from tasks.samples.clips import PERSON, make_samples

    videos = folder / "data" / "videos" / PERSON
    clips = make_samples(videos, 2, seconds=2.0, size=192)
    for name in ("hdtf", "anna", "unseen"):
        seed = len(name) + ord(name[0])
        make_samples(folder / "data" / name / name, 2 if name == "hdtf" else 1, seconds=2.0, size=192, seed=seed)
    (folder / "DRIVING").mkdir()
    for place in ("driving.mp4", "footage.mp4", "DRIVING/one.mp4"):
        shutil.copy(clips[0], folder / place)
    shutil.copy(clips[1], folder / "DRIVING" / "two.mp4")
    person = Image.fromarray(data.astronaut())
    (folder / "PORTRAITS").mkdir()
    for place in ("portrait.jpg", "PORTRAITS/one.png"):
        person.save(folder / place)
    three = Image.new("RGB", (3 * person.width, person.height))
    for number in range(3):
        three.paste(person, (number * person.width, 0))
    three.save(folder / "group.jpg")
    (folder / "lab.yaml").write_text(RECIPE)


def adapted(command: Written, folder: Path) -> list[str]:
    """A command's words at this size, on what was prepared."""
    text = f" {command} "
    for theirs, ours in WORDS.items():
        text = text.replace(f" {theirs} ", f" {ours} ").replace(f"={theirs} ", f"={ours} ")
    words = text.replace(" /", f" {folder}/").split()
    return words if "--why" not in command.words else [*words[: words.index("--why")], "--why", command.words[-1]]


def step(words: list[str], folder: Path) -> tuple[int, float, str]:
    """Run a command in the folder: status, seconds, and its last line."""
    begun = time.monotonic()
    there = {**os.environ, "PREFECT_HOME": str(folder / "prefect"), "PYTHONPATH": os.getcwd()}
    command = FYE + words[1:] if words[0] == "fye" else words
    done = subprocess.run(command, cwd=folder, env=there, capture_output=True, text=True, timeout=MOST_S)
    (folder / "log.txt").open("a").write(f"\n$ {' '.join(words)}\n{done.stdout}{done.stderr}")
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    errors = [line for line in done.stderr.splitlines() if line.startswith("fye: ")]
    return done.returncode, time.monotonic() - begun, (errors or said or [""])[-1]


def answer(folder: Path) -> None:
    """A rater's answers to the study that was just built, as its page writes them."""
    from tasks.study.manifest import read_study
    from tests.tasks.study.test_score_study import answers, same

    study = read_study(folder / "study")
    (folder / "ANSWERS").mkdir()
    for rater in range(2):
        told = answers(study, rater, same(study.methods))
        (folder / "ANSWERS" / f"{rater}.json").write_text(json.dumps(told))


def run(folder: Path) -> int:
    """All of them; returns how many ended otherwise than they should."""
    from tests.test_commands import parsed

    prepare(folder)
    wrong = 0
    code, took, line = step(
        ["fye", "retrain", "--recipe", "lab.yaml", "--videos", "data/videos", "--work", "work/demo"], folder
    )
    print(f"| (in place of `make demo`) | {code} | {took:.0f} |", flush=True)
    for command in written("README.md", "fye"):
        care = CARE[name := parsed(command)]
        if care.skip:
            print(f"| `{command}` | not run: {care.skip} | |", flush=True)
            continue
        for before in care.before:
            if before.startswith("copy "):
                shutil.copytree(folder / before.split()[1], folder / before.split()[2], symlinks=True)
            else:
                step(adapted(Written("", tuple(before.split())), folder), folder)
        if name == "score" and "--method" in command.words:
            shutil.copytree(folder / "work" / "bench" / "videos", folder / "their_videos")
        if "ANSWERS" in command.words:
            answer(folder)
        code, took, line = step(adapted(command, folder), folder)
        right = code in care.ends
        wrong += not right
        print(f"| `{command}` | {code}{'' if right else f' {line}'} | {took:.0f} |", flush=True)
    print(f"{wrong} ended otherwise than they should")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="a new folder to work in, which stays")
    kept = parser.parse_args().keep
    if kept is not None:
        kept.mkdir(parents=True)
        sys.exit(1 if run(kept.resolve()) else 0)
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(1 if run(Path(scratch)) else 0)
