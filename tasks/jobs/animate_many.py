"""Folders of portraits and drivers: every portrait performs every driver, one after the other, resumable by pair."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fye_model.animation.compatibility import check_folder
from fye_model.animation.description import need_description
from fye_model.config import SamplingConfig
from fye_model.devices import choose_device
from tasks.animation.pairs import (
    Pair,
    PairRecord,
    find_pairs,
    key_of_pair,
    read_records,
    result_digest,
    write_records,
)
from tasks.animation.progress import seconds
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.animate import AnimateRequest, AnimateSettings, animate, load_for_animation

if TYPE_CHECKING:  # the networks are slow to import
    from fye_model.animation.pipeline import FollowYourEmojiPipeline

Log = Callable[[str], None]


def animate_many(
    portraits: Path,
    driving: Path,
    model: Path,
    output: Path,
    asset: LandmarkerAsset,
    settings: AnimateSettings,
    sampling: SamplingConfig,
    ending: str = ".mp4",
    device: str = "auto",
    log: Log = print,
) -> dict[str, PairRecord]:
    """Write `output`/PORTRAIT--DRIVER`ending` for every pair, and `animations.json`; returns its records by name.

    portraits: a picture or a folder of them; driving: a driver, or a folder of videos and landmark tables. The model is
    loaded once. A pair whose result is there, whole and made from the same, is kept; one that cannot be animated is
    written down with the reason, and the others go on. Raises ValueError for places that hold nothing to animate.
    """
    check_folder(model)
    for line in need_description(model).cautions(asset.model):
        log(line)
    pairs = find_pairs(portraits, driving, output, ending)
    output.mkdir(parents=True, exist_ok=True)
    records = read_records(output)
    pipeline: FollowYourEmojiPipeline | None = None
    options = {**settings.model_dump(mode="json"), "sampling": sampling.model_dump(mode="json")}
    started, made = time.monotonic(), 0
    for place, pair in enumerate(pairs, 1):
        name, key = pair.output.name, key_of_pair(pair, options, model)
        if _is_done(records.get(name), key, pair.output):
            log(f"{place} of {len(pairs)} {name}: kept")
            continue
        if pipeline is None:
            pipeline = load_for_animation(model, choose_device(device), log)
        request = AnimateRequest.model_validate(
            {**dict(settings), **vars(pair), "model": model, "sampling": sampling, "device": device}
        )
        records[name] = _make(request, pair, key, asset, pipeline)
        write_records(output, records)
        made += 1
        left = seconds((time.monotonic() - started) / made * (len(pairs) - place))
        log(f"{place} of {len(pairs)} {name}: {records[name].error or 'made'}; at most {left} left")
    return {pair.output.name: records[pair.output.name] for pair in pairs}


def _is_done(record: PairRecord | None, key: str, output: Path) -> bool:
    if record is None or record.key != key or record.sha256 is None:
        return False
    return result_digest(output) == record.sha256


def _make(
    request: AnimateRequest, pair: Pair, key: str, asset: LandmarkerAsset, pipeline: FollowYourEmojiPipeline
) -> PairRecord:
    record = PairRecord(portrait=str(pair.portrait), driving=str(pair.driving), key=key)
    try:
        result = animate(request, asset, _silent, pipeline)
    except ValueError as error:
        return record.model_copy(update={"error": str(error)})
    found = {"sha256": result_digest(pair.output), "frames": result.frames, "notes": result.notes}
    return record.model_copy(update=found)


def _silent(line: str) -> None:
    """A pair's own lines are in its record."""
