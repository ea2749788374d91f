"""A run on a disk that fills up: a real small file system, the command itself, and what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tasks.engine.store import Store
from tasks.faces.landmarker import LandmarkerAsset
from tasks.media.read import read_frames
from tasks.media.write import write_video
from tests.skips import NO_MOUNT, can_mount

pytestmark = pytest.mark.skipif(not can_mount(), reason=NO_MOUNT)

ROOT = Path(__file__).resolve().parents[2]
FYE = str(Path(sys.executable).with_name("fye"))
DISK, FREE = 24 << 20, 7 << 18  # bytes


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of DISK bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_file_that_does_not_fit_leaves_nothing_behind(disk: Path) -> None:
    store = Store(disk)
    store.write_bytes("done", b"x" * 1000)
    with pytest.raises(OSError, match="No space left"):
        store.write_bytes("large", b"x" * (DISK + 1))
    assert store.read_bytes("done") == b"x" * 1000 and sorted(os.listdir(disk)) == ["done"]


@pytest.mark.slow
def test_a_run_on_a_full_disk_says_so_keeps_what_is_done_and_goes_on(
    landmarker_asset: LandmarkerAsset, sample_clips: list[Path], prefect_server: str, disk: Path, tmp_path: Path
) -> None:
    videos, work = tmp_path / "videos", disk / "work"
    videos.mkdir()
    (videos / "a-small.mp4").write_bytes(sample_clips[0].read_bytes())
    grain = np.random.default_rng(0).integers(-40, 40, (40, 240, 240, 3))
    noisy = np.clip(read_frames(sample_clips[1]) + grain, 0, 255).astype(np.uint8)
    write_video(videos / "b-noisy.mp4", noisy, 25.0, crf=10)  # the largest is the first, and fits
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(DISK - FREE))

    def refresh() -> subprocess.CompletedProcess[str]:
        words = [
            "refresh",
            "--videos",
            str(videos),
            "--work",
            str(work),
            "--recipe",
            "debug",
            "--workers",
            "0",
            "--set",
            "clips.size=240",
        ]
        environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": prefect_server}
        environment["PYTHONPATH"] = str(ROOT)  # this checkout, whatever is installed
        return subprocess.run(
            [FYE, *words], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
        )

    full = refresh()
    assert full.returncode == 1, full.stdout[-3000:]
    (last,) = [line for line in full.stderr.splitlines() if line.startswith("fye: ")]
    for words in ("no space left on the disk of", str(work), "clips of a-small", "free some space", "same command"):
        assert words in last, last
    assert "Traceback" not in full.stderr
    (done,) = (work / "items" / "clips").glob("*/receipt.json")
    stamp = done.stat().st_mtime_ns
    assert json.loads(done.read_text())["reason"] is None and "000/clip.mp4" in json.loads(done.read_text())["files"]

    ballast.unlink()
    again = refresh()
    assert again.returncode == 0, again.stderr[-3000:]
    assert "2 of 2 clips kept" in again.stdout, again.stdout
    assert done.stat().st_mtime_ns == stamp, "what was done is not done again"
    assert not list(disk.rglob("*.part")) and not list((work / "partial").rglob("clip.mp4"))
