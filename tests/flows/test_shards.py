"""Two parts of a data set made apart on one store are what one run makes of the whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows.wiring import prepare_clips, prepare_data
from fye_model.config import Runtime
from tasks.engine.store import HashMemory, Store
from tasks.faces.landmarker import LandmarkerAsset
from tasks.footage.shards import Shard
from tasks.samples.clips import make_samples
from tasks.workspace.recipes import load_recipe
from tasks.workspace.sources import Root, register_root, scan
from tests.flows.plain import Plain

pytestmark = pytest.mark.slow


def contents(store: Store) -> dict[str, str]:
    """Every finished file of a store, with its hash; receipts tell seconds, which differ."""
    assert store.local_root is not None
    hashes = HashMemory(store)
    files = [path for path in sorted((store.local_root / "items").rglob("*")) if path.is_file()]
    return {
        path.relative_to(store.local_root).as_posix(): hashes.digest(path)[0]
        for path in files
        if path.name != "receipt.json"
    }


def run_in(work: Path, videos: Path, asset: LandmarkerAsset) -> Plain:
    recipe = load_recipe("debug", ["screening.min_sharpness=0", "split.by=clip", "split.holdout=0.3"])
    run = Plain(Store(work), recipe, Runtime(workers=0, threads=1, device="cpu"), asset)
    register_root(run.store, Root(str(videos)))
    return run


def test_two_shards_on_one_store_give_what_one_run_gives(landmarker_asset: LandmarkerAsset, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    for number, clip in enumerate(make_samples(tmp_path / "made", clips=4, seconds=1.2, size=96)):
        (videos / f"s{number}").mkdir(parents=True)
        shutil.copy(clip, videos / f"s{number}")
    whole = run_in(tmp_path / "whole", videos, landmarker_asset)
    one = prepare_data(whole)
    shards = [Shard(1, 2), Shard(2, 2)]
    parts = []
    for shard in shards:
        run = run_in(tmp_path / "parts", videos, landmarker_asset)
        parts.append([clip.id for clip in prepare_clips(run, shard)[0]])
        assert [result.stage for result in run.results] == ["clips", "landmarks"]
    assert all(parts) and sorted([*parts[0], *parts[1]]) == sorted(clip.id for clip in one.clips)
    last = run_in(tmp_path / "parts", videos, landmarker_asset)
    both = prepare_data(last)
    assert [result.fresh for result in last.results] == [0, 0, 1], "nothing is made twice"
    assert both.verdicts == one.verdicts
    assert contents(last.store) == contents(whole.store)


def test_every_file_is_in_one_shard_and_only_its_own_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for number in range(40):
        (tmp_path / "set" / f"{number}.mp4").write_bytes(bytes([number]))
    store, root = Store(tmp_path / "work"), Root(str(tmp_path / "set"))
    taken = []
    for index in (1, 2, 3):
        found = [source.name for source in scan(store, [root], Shard(index, 3)) if source.problem is None]
        assert 5 < len(found) < 22
        taken += found
        assert len(store.read_json("hashes.json")) == len(taken), "hashes of all parts are kept, and of no other file"
    assert sorted(taken) == sorted(str(number) for number in range(40))
    for wrong in ("0/2", "3/2", "2", "a/b", "1/0"):
        with pytest.raises(ValueError, match="expected PART/PARTS"):
            Shard.parse(wrong)
    assert str(Shard.parse("2/4")) == "2/4"


def test_spans_of_one_file_are_in_one_shard(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"a")
    (tmp_path / "b.mp4").write_bytes(b"b")
    rows = "".join(f"{name}.mp4,{start},{start + 1}\n" for name in "ab" for start in range(10))
    (tmp_path / "t.csv").write_text("uri,start_s,end_s\n" + rows)
    for count in (2, 5):
        for index in range(1, count + 1):
            found = scan(Store(tmp_path / "work"), [Root(str(tmp_path / "t.csv"))], Shard(index, count))
            assert sum(source.problem is None for source in found) in (0, 10, 20)
