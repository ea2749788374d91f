"""What a disk lost is found, also where a run would not see it; and the next run makes it again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from flows.cli import app
from tasks.engine.store import Store
from tasks.jobs.verify import Verified, forget, verified_lines, verify
from tasks.media.decodable import undecodable
from tests.tasks.jobs.test_clean import run_on
from tests.tasks.support import LENGTH, calls
from tests.tasks.videos import encode, numbered


def look(work: Path) -> Verified:
    return verify(Store(work), [LENGTH])


def problems(work: Path) -> dict[str, str]:
    return {damage.path: damage.problem for damage in look(work).damaged}


def test_bytes_that_a_disk_lost_in_silence_are_found_and_made_again(tmp_path: Path) -> None:
    work = tmp_path / "work"
    one, _, _ = run_on(work, a="aaaa", b="bb", c="bad text")
    assert problems(work) == {} and look(work).items == {"test_length": 3} and look(work).files == {"test_length": 2}
    file = work / one / "deep" / "length.txt"
    status = file.stat()
    file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    run_on(work, a="aaaa", b="bb", c="bad text")
    assert calls(tmp_path, "a") == 1, "no run sees it: size and time are as they were"
    found = look(work)
    assert problems(work) == {one: "deep/length.txt holds other bytes than were written"} and found.damaged[0].needed
    text = "\n".join(verified_lines(found, forgotten=False))
    assert "1 of 3 items are damaged; 1 of them are needed" in text and "--redo" in text
    forget(Store(work), found.damaged)
    run_on(work, a="aaaa", b="bb", c="bad text")
    assert (calls(tmp_path, "a"), calls(tmp_path, "b")) == (2, 1) and problems(work) == {}


def test_each_kind_of_damage_has_its_words_and_what_it_costs(tmp_path: Path) -> None:
    work = tmp_path / "work"
    folders = run_on(work, a="a", b="b", c="c", d="d", e="e")
    short, missing, other, none, text = (work / folder for folder in folders)
    (short / "deep" / "length.txt").write_text("123")
    (missing / "deep" / "length.txt").unlink()
    (other / "receipt.json").write_bytes((short / "receipt.json").read_bytes())
    (none / "receipt.json").unlink()
    (text / "receipt.json").write_text("{")
    assert problems(work) == {
        folders[0]: "deep/length.txt has 3 bytes instead of 1",
        folders[1]: "deep/length.txt is missing",
        folders[2]: "its receipt is that of another item",
        folders[3]: "it has no receipt",
        folders[4]: "its receipt is damaged",
    }
    assert all(damage.seconds is not None for damage in look(work).damaged), "other items tell the time"


def test_files_that_cannot_be_decoded_are_told_by_kind(tmp_path: Path) -> None:
    encode(tmp_path / "good.mp4", numbered(12))
    Image.new("RGB", (64, 64)).save(tmp_path / "good.png")
    np.save(tmp_path / "good.npy", np.zeros(100))
    save_file({"a": np.zeros(100)}, tmp_path / "good.safetensors")
    (tmp_path / "good.json").write_text(json.dumps(list(range(100))))
    for path in sorted(tmp_path.glob("good.*")):
        assert undecodable(path) is None, path.name
        (cut := path.with_stem("cut")).write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert undecodable(cut), cut.name
    noise = np.random.default_rng(0).integers(0, 256, (4, 200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise[0]).save(tmp_path / "chunks.png")
    parts = (tmp_path / "chunks.png").read_bytes().split(b"IDAT")
    (tmp_path / "chunks.png").write_bytes(b"IDAT".join([parts[0], parts[1][:-4] + bytes(4), *parts[2:]]))
    frames = [Image.fromarray(frame) for frame in noise]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert undecodable(tmp_path / "moving.gif") is None
    (tmp_path / "cut.gif").write_bytes((tmp_path / "moving.gif").read_bytes()[:-40_000])
    assert undecodable(tmp_path / "chunks.png") and undecodable(tmp_path / "cut.gif"), "past the first part"
    (tmp_path / "a.txt").write_bytes(b"\xff")
    assert undecodable(tmp_path / "a.txt") is None, "nothing is said of other kinds"


def test_the_command_ends_with_1_where_something_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = tmp_path / "work"
    (folder,) = run_on(work, a="aaaa")
    words = ["verify", "--work", str(work), "--json"]
    assert app(words, result_action="return_value") == 0
    assert json.loads(capsys.readouterr().out)["damaged"] == []
    (work / folder / "deep" / "length.txt").unlink()
    assert app([*words, "--redo"], result_action="return_value") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["damaged"][0]["problem"] == "deep/length.txt is missing"
    assert not (work / folder / "receipt.json").exists()
