"""A finished evaluation as a comparison reads it: each clip's scores, and the terms under which they were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from pydantic import JsonValue

from fye_model.evaluation.aggregate import json_number
from fye_model.evaluation.cross import FAILURES, Task
from fye_model.evaluation.scores import ClipScores
from fye_model.evaluation.table import BY_NAME
from fye_model.files import parse_json
from tasks.results.cross_tables import CrossRecord
from tasks.results.records import METHODS, ClipRecord
from tasks.results.tables import METRICS_SCHEMA

EVALUATION, RECORDS, CROSS_RECORDS = "evaluation", "records", "cross/records"
# Of an evaluation's protocol: what belongs to the method, and what only counts or says how intervals were made.
_OF_METHOD = ("landmark_variant", "sampling")
_TOLD = ("clips", "frames", "people", "interval")


@dataclass(frozen=True)
class Scored:
    """One clip, or one pair of a bench, by one method.

    frames: which ones were scored, in words. yardstick: what the repeated reference scored on them; None where the
    truth is known to be the same without it. trained_on: training saw other frames of it.
    """

    id: str
    name: str
    task: Task
    frames: str
    scores: ClipScores
    yardstick: ClipScores | None
    trained_on: bool


@dataclass(frozen=True)
class ScoredRun:
    """One method's scores in one finished run.

    terms: what has to be equal for a fair comparison. metrics: how each metric is measured. settings: of the method.
    """

    folder: Path
    method: str
    terms: Mapping[str, JsonValue]
    metrics: Mapping[str, JsonValue]
    settings: Mapping[str, JsonValue]
    clips: Mapping[str, Scored]


def evaluation_folder(folder: Path) -> Path | None:
    """The folder with metrics.json: this one, or `evaluation` in a work folder; None where there is none."""
    places = (folder, folder / EVALUATION)
    return next((place for place in places if (place / "metrics.json").is_file()), None)


def read_evaluation(folder: Path, method: str | None = None) -> ScoredRun:
    """An evaluation's scores. method: `model` (unless said otherwise) or `baseline`, the repeated reference.

    Raises ValueError for a folder of another version, an unknown method, and clips whose records are not there.
    """
    method = method or METHODS[0]
    if method not in METHODS:
        raise ValueError(f"{folder} has the methods {' and '.join(METHODS)}, not {method!r}")
    metrics = read_json(folder / "metrics.json")
    if not isinstance(metrics, dict) or metrics.get("schema") != METRICS_SCHEMA:
        found = metrics.get("schema") if isinstance(metrics, dict) else None
        raise ValueError(
            f"{folder / 'metrics.json'}: schema is {found!r}, expected {METRICS_SCHEMA}; evaluate again with this "
            "version, in the same work folder"
        )
    protocol = metrics.get("protocol")
    listed = metrics.get("clips")
    if not isinstance(protocol, dict) or not isinstance(listed, list):
        _damaged(folder / "metrics.json")
    records = _records(folder)
    told = {str(clip["clip"]): clip for clip in listed if isinstance(clip, dict)}
    if absent := [clip for clip in told if clip not in records]:
        raise ValueError(f"{folder}: no record of the clips {', '.join(absent)}; evaluate again in its work folder")
    if other := [clip for clip, values in told.items() if not _agree(records[clip], values)]:
        raise ValueError(
            f"{folder}: the records of the clips {', '.join(other)} are not those that metrics.json was made of, as a "
            "run that was killed while it wrote leaves them; run it again, which takes what is finished over"
        )
    texts = protocol.get("metrics", {})
    used = (*_OF_METHOD, *_TOLD, "metrics")
    return ScoredRun(
        folder=folder,
        method=method,
        terms={name: value for name, value in protocol.items() if name not in used},
        metrics=texts if isinstance(texts, dict) else {},
        settings={name: protocol[name] for name in _OF_METHOD if name in protocol},
        clips={**{clip: _scored(records[clip], method) for clip in told}, **_crossed(folder, metrics, method)},
    )


def _crossed(folder: Path, metrics: Mapping[str, JsonValue], method: str) -> dict[str, Scored]:
    """The pairs of cross reenactment, by their ids; none where nothing was crossed, or before it was known."""
    cross = metrics.get("cross")
    listed = cross.get("list") if isinstance(cross, dict) else None
    found: dict[str, Scored] = {}
    for row in listed if isinstance(listed, list) else []:
        path = folder / CROSS_RECORDS / f"{Path(str(row['video'])).stem}.json" if isinstance(row, dict) else folder
        values = read_json(path)
        try:
            record = CrossRecord.from_json(values)  # type: ignore[arg-type]  # it checks what it reads
        except (KeyError, TypeError, ValueError):
            _damaged(path)
        found[record.pair] = _cross_scored(record, method)
    return found


def _cross_scored(record: CrossRecord, method: str) -> Scored:
    """No yardstick: the same clips' self reenactments vouch for the pictures."""
    start, stop = record.span
    scores = record.scores[method]
    frames = f"{scores.frames} frames of {start} to {stop}, performed by frame {record.reference} of {record.portrait}"
    return Scored(record.pair, record.name, "cross", frames, scores, None, trained_on=False)


def _scored(record: ClipRecord, method: str) -> Scored:
    start, stop = record.span
    scores = record.scores[method]
    lost = (float(scores.no_face_in_result), float(scores.frames - scores.no_face_in_truth))
    return Scored(
        id=record.clip,
        name=record.name,
        task="self",
        frames=f"{scores.frames} frames of {start} to {stop}, the reference is frame {record.reference}",
        scores=replace(scores, statistics={**scores.statistics, FAILURES.name: lost}),
        yardstick=record.scores["baseline"],
        trained_on=record.trained_on and method == "model",
    )


def _agree(record: ClipRecord, told: Mapping[str, JsonValue]) -> bool:
    """Whether metrics.json tells of a clip what its record has."""
    for method, scores in record.scores.items():
        values = told.get(method)
        if not isinstance(values, dict):
            return False
        for name in values.keys() & BY_NAME.keys() & scores.statistics.keys():
            if values[name] != json_number(scores.value(BY_NAME[name])):
                return False
    return True


def _records(folder: Path) -> dict[str, ClipRecord]:
    """Clip id -> record: of the folder, or of the item of its work folder that it is a copy of."""
    place = folder / RECORDS
    if not place.is_dir():
        same = (folder / "metrics.json").read_bytes()
        items = sorted((folder.parent / "items" / "evaluate").glob("*/metrics.json"))
        twins = [path.parent / RECORDS for path in items if path.read_bytes() == same]
        if not twins:
            raise ValueError(
                f"{folder} has no folder {RECORDS!r} with the scores of its clips, and its work folder does not have "
                "them either; give a work folder of `fye retrain` or `fye evaluate`, or run one of them in it again"
            )
        place = twins[0]
    found = {}
    for path in sorted(place.glob("*.json")):
        values = read_json(path)
        try:
            record = ClipRecord.from_json(values)  # type: ignore[arg-type]  # it checks what it reads
        except (KeyError, TypeError, ValueError):
            _damaged(path)
        found[record.clip] = record
    return found


def read_json(path: Path) -> JsonValue:
    """A file's JSON; ValueError, naming it, where it cannot be read."""
    try:
        found: JsonValue = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return found


def _damaged(path: Path) -> NoReturn:
    raise ValueError(f"{path} does not hold what an evaluation writes there; evaluate again in its work folder")
