"""Hostile and broken inputs, one table: `python -m tests.failure.hostile [--keep FOLDER]`. By hand, not collected.

Videos under bad names and with bad contents are refreshed together with a good one; what was planted in the store that
this made is met by a second refresh; recipes, portraits, model folders and tables are given to what reads them. A row
says what, what came of it, in what time, and how much the process grew. An outcome in which a word begins with `!` is
wrong: the run ended, something took longer than its limit, outputs differ; so is it when `executed` was made.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from tasks.media.opening import printable
from tests.tasks.videos import claims_frames, encode, numbered
from tests.tasks.workspace.test_recipes import HOSTILE

ROOT = Path(__file__).resolve().parents[2]
FYE = str(Path(sys.executable).with_name("fye"))
LIMIT_S = 60
DEEP = b"[" * 3000 + b"]" * 3000
Row = tuple[str, str, str, float]


class Runs:
    """Unpickling it leaves the file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def png(path: Path, width: int, height: int, data: bool, extra: bytes = b"") -> None:
    """A PNG of one bit a pixel, with black pixels or with none of what it claims."""
    pack = zlib.compressobj(9)
    packed = b""
    if data:
        row = bytes(1 + (width + 7) // 8)
        packed = b"".join(pack.compress(row) for _ in range(height)) + pack.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [(b"IHDR", head), *([(b"zTXt", extra)] if extra else []), (b"IDAT", packed), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def gif(path: Path, side: int) -> None:
    """A GIF whose screen is huge and whose three frames are a pixel each."""
    frame = b"\x21\xf9\x04\x00\x04\x00\x00\x00\x2c" + struct.pack("<4H", 0, 0, 1, 1) + b"\x00\x02\x02\x44\x01\x00"
    path.write_bytes(b"GIF89a" + struct.pack("<2H", side, side) + b"\x80\x00\x00\0\0\0\xff\xff\xff" + frame * 3 + b";")


def bad_videos(folder: Path, outside: Path, good: bytes) -> dict[str, str]:
    """Fill a folder with what nobody wants; {name in tables: what it is}."""
    folder.mkdir(parents=True)
    (folder / "good.mp4").write_bytes(good)
    honest = encode(outside / "honest.avi", numbered(20), codec="mpeg4")
    (outside / "elsewhere.mp4").write_bytes(good + b"\0\0\0\x08free")
    secret = outside / "elsewhere.mp4"
    markup = '<img src=x onerror="alert(1)">\n| a | `b`\t'
    made: dict[str, tuple[str, Callable[[Path], object]]] = {
        "zero": ("nothing in it", lambda path: path.touch()),
        "text": ("a text", lambda path: path.write_text("no video\n" * 99)),
        "cut": ("cut in half", lambda path: path.write_bytes(good[: len(good) // 2])),
        "one": ("one frame", lambda path: encode(path, numbered(1))),
        "list": ("a play list of another file", lambda path: path.write_text(f"#EXTM3U\n#EXTINF:1,\n{secret}\n")),
        "concat": ("a list of files", lambda path: path.write_text(f"ffconcat version 1.0\nfile '{secret}'\n")),
        "pipe": ("a named pipe", os.mkfifo),
        "device": ("a link to /dev/zero", lambda path: path.symlink_to("/dev/zero")),
        "dangling": ("a link to nothing", lambda path: path.symlink_to("nowhere.mp4")),
        "loop": ("a link to itself", lambda path: path.symlink_to(path.name)),
        "outside": ("a link out of the folder", lambda path: path.symlink_to(secret)),
        "billion": ("an AVI that claims 10^9 frames", lambda path: claims_frames(path, honest, 10**9)),
        "hour": (
            "3 frames, then one after 28 hours",
            lambda path: encode(path, numbered(4), times_ms=[0, 40, 80, 10**8]),
        ),
        "huge": (
            "Y4M of 60,000 x 60,000",
            lambda path: path.write_bytes(b"YUV4MPEG2 W60000 H60000 F25:1\nFRAME\n" * 9),
        ),
        "bomb": ("a PNG of 900 megapixels in 100 kB", lambda path: png(path, 30_000, 30_000, data=True)),
        "screen": ("a GIF of 65,535 x 65,535", lambda path: gif(path, 65_535)),
        markup: ("HTML, a line break and a pipe as name", lambda path: path.write_text(f"no video {len(path.name)}")),
        "-rf": ("a name like an option", lambda path: path.write_text(f"no video {len(path.name)}")),
        "concat:a|b": ("a name like an address", lambda path: path.write_text(f"no video {len(path.name)}")),
        "\udce4\udcff": ("a name of bytes", lambda path: path.write_text(f"no video {len(path.name)}")),
        "a" * 240: ("a name of 240 letters", lambda path: path.write_text(f"no video {len(path.name)}")),
    }
    for name, (_, make) in made.items():
        make(folder / f"{name}.mp4")
    (folder / "deeper").mkdir()
    (folder / "deeper" / "up").symlink_to("..")
    found = {name: what for name, (what, _) in made.items()}
    return {**found, "deeper-up": "a folder that links to the one above"}


def refresh(videos: Path, work: Path, home: Path) -> tuple[subprocess.CompletedProcess[str], float]:
    words = ["refresh", "--videos", str(videos), "--work", str(work), "--recipe", "debug", "--workers", "0"]
    outside = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    there = {**outside, "PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT)}
    begun = time.monotonic()
    done = subprocess.run([FYE, *words], env=there, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    return done, time.monotonic() - begun


def of_videos(folder: Path, good: bytes) -> list[Row]:
    (folder / "outside").mkdir()
    what = bad_videos(folder / "videos", folder / "outside", good)
    done, seconds = refresh(folder / "videos", folder / "work", folder / "prefect")
    ended = "the run ended well" if done.returncode == 0 else f"!the run ended with {done.returncode}"
    rows = [("all of these videos in one run", f"{ended}, {summary(folder)}", "", seconds)]
    if done.returncode:
        return [*rows, ("", done.stderr[-2000:], "", 0)]
    set_aside = pq.read_table(folder / "work" / "quarantine.parquet").to_pylist()
    took = {}
    for receipt in (folder / "work" / "items").glob("*/*/receipt.json"):
        read = json.loads(receipt.read_text())
        took[read["item"]] = took.get(read["item"], 0.0) + read["seconds"]
    assert len(what) == len(set(what.values())), "each is told of once"
    lines = sorted((row["name"], row["reason"], row["item"]) for row in set_aside)
    for name, reason, item in lines:
        known = [text for title, text in what.items() if plain(printable(title)) == plain(name)]
        rows.append(("video: " + (known[0] if known else name), f"set aside as `{reason}`", "", took.get(item, 0.0)))
    told = {row[0] for row in rows}
    rows += [
        (f"video: {text}", "used as far as it goes", "", 0) for text in what.values() if f"video: {text}" not in told
    ]
    return rows


def plain(name: str) -> str:
    """What a table's name and a file's have in common."""
    return "".join(letter for letter in name.encode("utf-8", "replace").decode() if letter.isalnum())[:30]


def summary(folder: Path) -> str:
    try:
        found = json.loads((folder / "work" / "summary.json").read_text())
        return f"{found['data']['kept']} clip kept, {found['quarantined']} set aside"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"!no summary ({error})"


def plant(work: Path, mark: Path) -> dict[str, str]:
    """Damage a finished store in every place; {what: where}."""
    planted = pickle.dumps(Runs(mark))
    results = {path.name.split("-")[0]: path for path in (work / "results").iterdir()}
    receipts = (work / "items").glob("*/*/receipt.json")
    done = [path.parent for path in receipts if not json.loads(path.read_text())["reason"]]
    items = {folder.parent.name: folder for folder in done}
    results["clips"].write_bytes(planted)
    results["landmarks"].write_bytes(b'{"metadata": {"serializer": {"type": "pickle"}}, "result": "x"}')
    results["screening"].unlink()
    os.mkfifo(results["screening"])
    manifest = next((work / "stages" / "clips").iterdir())
    os.truncate(manifest, manifest.stat().st_size // 2)
    (items["clips"] / "receipt.json").write_bytes(b"[" * 100_000)
    refused = next(folder for folder in sorted((work / "items" / "clips").iterdir()) if folder not in done)
    shutil.copy(items["screening"] / "receipt.json", refused / "receipt.json")
    table = next(items["landmarks"].glob("*.parquet"))
    size = table.stat().st_size
    table.write_bytes(os.urandom(size))
    shutil.rmtree(items["screening"])
    items["screening"].write_bytes(planted)
    (work / "hashes.json").write_bytes(DEEP)
    (work / "clips.json").write_bytes(b"\xff\xfe")
    (work / "history.json").write_bytes(b'[{"summary": "../../../etc/passwd"}]')
    (work / "partial" / "clips" / f"{items['clips'].name}.lock").mkdir(parents=True)
    (work / "partial" / "runs" / "../../etc".replace("/", "_")).touch()
    (work / "items" / "clips" / "loop").symlink_to("loop")
    return {
        "a pickle as a stage's record": "results/clips",
        "a record that names a pickle's reader": "results/landmarks",
        "a named pipe as a record": "results/screening",
        "a manifest cut in half": "stages/clips",
        "a receipt nested 100,000 deep": "items/clips",
        "another item's receipt": "items/clips",
        "an output with other bytes of the same size": "items/landmarks",
        "a pickle where an item's folder was": "items/screening",
        "a memory of hashes nested 3,000 deep": "hashes.json",
        "bytes as a memory of clips": "clips.json",
        "a history that leaves the store": "history.json",
        "a folder where a lock belongs": "partial/clips",
        "a file that is no run's": "partial/runs",
        "a link to itself among items": "items/clips/loop",
    }


def of_store(folder: Path, mark: Path) -> list[Row]:
    work = folder / "work"
    before = outputs(work)
    what = plant(work, mark)
    done, seconds = refresh(folder / "videos", work, folder / "prefect")
    same = outputs(work) == before
    ended = "ended well" if done.returncode == 0 else f"!ended with {done.returncode}: {done.stderr[-1500:]}"
    made = "every output is there again, the same" if same else "!outputs differ"
    rows = [("all of these in one store, in one run", f"the run {ended}; {made}", "", seconds)]
    rows += [(f"store: {text}", f"not believed, or cleared away ({where})", "", 0.0) for text, where in what.items()]
    (work / "dataset.json").write_bytes(DEEP)
    done, seconds = refresh(folder / "videos", work, folder / "prefect")
    line = next((line for line in done.stderr.splitlines() if line.startswith("fye: ")), "!no line")
    return [*rows, ("store: `dataset.json` nested 3,000 deep", short(line, folder), "", seconds)]


def outputs(work: Path) -> dict[str, Any]:
    """What every finished item holds, by its receipt, where its files are what that says."""
    found = {}
    for path in sorted((work / "items").glob("*/*/receipt.json")):
        receipt = json.loads(path.read_text())
        whole = all((path.parent / name).stat().st_size == size for name, (size, _) in receipt["files"].items())
        found[str(path.relative_to(work))] = (receipt["item"], receipt["files"], receipt["reason"], whole)
    return found


def attempt(what: str, call: Callable[[], object], folder: Path) -> Row:
    """Call it, with a limit; the last line of what it says."""

    def late(*_: object) -> None:
        raise AssertionError(f"!more than {LIMIT_S} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT_S)
    try:
        said = f"taken: {call()}"
    except ValueError as error:
        said = str(error)
    except BaseException as error:
        said = f"!{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return what, short(said, folder), f"{grown:.0f}" if grown >= 1 else "0", time.monotonic() - begun


def short(text: str, folder: Path) -> str:
    first = text.replace(str(folder), "…").split("\n")[0].replace("|", "\\|")
    return first if len(first) < 150 else first[:147] + "…"


def of_recipes(folder: Path, mark: Path) -> list[Row]:
    from tasks.workspace.recipes import load_recipe

    rows = []
    for number, text in enumerate(HOSTILE):
        path = folder / f"{number}.yaml"
        path.write_text(text.replace("{mark}", str(mark)))
        title = text.replace("\n", " ⏎ ").replace("|", "\\|")
        title = f"recipe: `{title[:40]}{'…' if len(title) > 40 else ''}`"
        rows.append(attempt(title, lambda path=path: load_recipe(str(path)), folder))  # type: ignore[misc]
    os.mkfifo(folder / "pipe.yaml")
    return [*rows, attempt("recipe: a named pipe", lambda: load_recipe(str(folder / "pipe.yaml")), folder)]


def of_portraits(folder: Path) -> list[Row]:
    from tasks.media.pictures import read_picture

    png(folder / "bomb.png", 30_000, 30_000, data=True)
    png(folder / "claims.png", 2**31 - 1, 2**31 - 1, data=False)
    png(folder / "text.png", 64, 64, data=True, extra=b"a\0\0" + zlib.compress(bytes(300_000_000), 9))
    gif(folder / "screen.gif", 65_535)
    (folder / "code.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(executed) (w) file closefile\n")
    (folder / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>')
    os.mkfifo(folder / "pipe.png")
    (folder / "device.png").symlink_to("/dev/zero")
    what = {
        "bomb.png": "PNG of 900 megapixels in 100 kB",
        "claims.png": "PNG that claims 2^31 x 2^31",
        "text.png": "PNG whose comment unpacks to 300 MB",
        "screen.gif": "GIF of 65,535 x 65,535",
        "code.eps": "EPS, which is a program",
        "a.svg": "SVG that names a file",
        "pipe.png": "a named pipe",
        "device.png": "a link to /dev/zero",
    }
    return [
        attempt(f"portrait: {text}", lambda name=name: read_picture(folder / name).size, folder)  # type: ignore[misc]
        for name, text in what.items()
    ]


def of_models(folder: Path, mark: Path) -> list[Row]:
    from fye_model.animation.pipeline import FollowYourEmojiPipeline
    from fye_model.networks.weights import read_weights
    from tests.fye_model.animation.tiny import build_tiny, describe_tiny

    pipeline = build_tiny()
    pipeline.description = describe_tiny()
    pipeline.save_pretrained(folder / "good")
    weights = "diffusion_pytorch_model"
    planted = pickle.dumps({"weight": Runs(mark)})

    def index(model: Path, **entry: object) -> None:
        said = json.loads((model / "model_index.json").read_text())
        (model / "model_index.json").write_text(json.dumps({**said, **entry}))

    def pickled(model: Path) -> None:
        (model / "vae" / f"{weights}.safetensors").unlink()
        (model / "vae" / f"{weights}.bin").write_bytes(planted)

    def piped(path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    what: dict[str, Callable[[Path], object]] = {
        "`vae: null`": lambda model: index(model, vae=None),
        "a scheduler that is `os.system`": lambda model: index(model, scheduler=["os", "system"]),
        "a pickle for weights": pickled,
        "`fye.json` nested 100,000 deep": lambda model: (model / "fye.json").write_text("[" * 100_000),
        "a named pipe as `fye.json`": lambda model: piped(model / "fye.json"),
        "a named pipe as weights": lambda model: piped(model / "vae" / f"{weights}.safetensors"),
        "weights whose header claims 2^60 bytes": lambda model: (model / "vae" / f"{weights}.safetensors").write_bytes(
            struct.pack("<Q", 1 << 60) + b"{}"
        ),
    }
    rows = []
    for number, (text, change) in enumerate(what.items()):
        model = folder / str(number)
        shutil.copytree(folder / "good", model)
        change(model)
        load = lambda model=model: type(FollowYourEmojiPipeline.from_pretrained(model)).__name__  # noqa: E731
        rows.append(attempt(f"model: {text}", load, folder))
    (folder / "motion.ckpt").write_bytes(planted)
    return [*rows, attempt("weights: a pickle as `.ckpt`", lambda: read_weights(folder / "motion.ckpt"), folder)]


def of_tables(folder: Path) -> list[Row]:
    from tasks.engine.store import Store
    from tasks.footage.card import load_card
    from tasks.workspace.sources import Root, scan

    said = "uri,start_s,end_s\n/etc/passwd,,\nfile:///etc/passwd,,\n../../../etc/passwd,,\nhttp://127.0.0.1:9/a.mp4,,\n"
    (folder / "set.csv").write_text(said + "a.mp4,nan,\na.mp4,0,1e308\n=cmd(),,\n")
    card = yaml.safe_load((ROOT / "datasets" / "folder" / "source.yaml").read_text()) | {"names": ["(" * 5000]}
    (folder / "source.yaml").write_text(yaml.safe_dump(card))

    def reasons() -> str:
        return ", ".join(str(source.problem and source.problem[0]) for source in scan(store, [root]))

    store, root = Store(folder / "store"), Root(str(folder / "set.csv"))
    return [
        attempt("table: paths that leave, addresses where nothing answers, NaN", reasons, folder),
        attempt("card: a pattern nested 5,000 deep", lambda: load_card(str(folder / "source.yaml")), folder),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--keep", type=Path, help="a new folder for all that is made")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="fye-hostile-"))
    mark = folder / "executed"
    from tasks.samples.clips import make_samples

    (good,) = make_samples(folder / "sample", 1, 1.6, 240)
    for name in ("recipes", "portraits", "models", "tables"):
        (folder / name).mkdir()
    rows = of_recipes(folder / "recipes", mark) + of_portraits(folder / "portraits") + of_tables(folder / "tables")
    rows += of_models(folder / "models", mark) + of_videos(folder, good.read_bytes()) + of_store(folder, mark)
    print("| what | what comes of it | grew, MB | s |\n|---|---|---|---|")
    for what, outcome, grown, seconds in rows:
        print(f"| {what} | {outcome} | {grown} | {seconds:.1f} |")
    wrong = [row for row in rows if re.search(r"(^| )!", row[1])]
    executed = mark.exists() or list(folder.rglob("executed"))
    print(f"{len(rows)} rows, {len(wrong)} wrong, {'SOMETHING WAS EXECUTED' if executed else 'nothing was executed'}")
    if given.keep is None:
        shutil.rmtree(folder)
    sys.exit(bool(wrong or executed))


if __name__ == "__main__":
    main()
