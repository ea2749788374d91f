"""A run's results at small size, from real pictures and scores, and what a test reads of a page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.cross import CROSS_METRICS
from fye_model.evaluation.reenact import Reenactment
from fye_model.evaluation.scores import score
from fye_model.evaluation.windows import motion
from fye_model.files import write_json
from tasks.media.write import write_video
from tasks.report import Previous
from tasks.results.cross_tables import CrossRecord
from tasks.results.made import Made
from tasks.results.pictures import save_png, side_by_side, strip
from tasks.results.records import ClipRecord
from tests.fye_model.evaluation.moving_face import face, track

EVIL = "<script>alert(1)</script>"
TERMS = {"max_frames": 4, "evaluated_size": 32, "landmark_model": "test-model", "sampling": {"steps": 3}}
MADE = Made(
    when="2026-01-02T03:04:05+00:00",
    software="follow-your-emoji 9",
    commit="0123abcd",
    packages="torch 9",
    machine="Linux",
    device="cpu",
)
PREVIOUS = Previous(
    finished="2025-12-31T23:59:59+00:00",
    recipe=f"old{EVIL}",
    checkpoint="stage 2/checkpoint-000050",
    changed=("train.stage1.steps: 50, now 100",),
)


def clip_record(folder: Path, name: str, noise: float) -> ClipRecord:
    """A clip's record from real pictures: a result that is the truth with noise, and a reference that stands still."""
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    result = np.clip(truth + rng.normal(0, noise, truth.shape), 0, 255).astype(np.uint8)
    pair = Reenactment(truth[0], truth, truth, result)
    save_png(strip(pair, [0, 3]), folder / f"strips/{name}.png")
    (folder / "videos").mkdir(exist_ok=True)
    write_video(folder / f"videos/{name}.mp4", side_by_side(pair), 25.0)
    points = [face(opening) for opening in (0.0, 0.6, 1.2, 0.5)]
    theirs = Truth(truth, track(list(points)))
    found = [None, *(point + rng.normal(0, noise * 1e-5, point.shape) for point in points[1:])]
    still = Comparison(theirs, pair.baseline(), track([points[0]] * 4))
    return ClipRecord(
        clip=name,
        name=f"{name}{EVIL}",
        subject=name,
        span=(0, 5),
        reference=0,
        trained_on=name == "good",
        not_driven=1,
        motion=motion(theirs.signals),
        scores={"model": score(Comparison(theirs, result, track(found))), "baseline": score(still)},
        truth_signals={signal: tuple(values) for signal, values in theirs.signals.items()},
        video=f"videos/{name}.mp4",
        strip=f"strips/{name}.png",
    )


def cross_record(folder: Path, record: ClipRecord) -> CrossRecord:
    """The same clip's picture moved by itself: scores of cross reenactment from real pictures."""
    pictures = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    faces = track([face(opening) for opening in (0.0, 0.6, 1.2, 0.5)])
    theirs = Truth(pictures, faces)
    moved = track([None, *(face(opening) for opening in (0.5, 1.0, 0.4))])
    scores = {
        "model": score(Comparison(theirs, pictures, moved, pictures[0], faces.repeated(1)), CROSS_METRICS),
        "baseline": score(
            Comparison(theirs, pictures, faces.repeated(4), pictures[0], faces.repeated(1)), CROSS_METRICS
        ),
    }
    words = (f"{record.clip}--x", f"{record.name} performs x", record.clip, "x")
    places = {"video": record.video, "strip": record.strip}
    facts = {"subjects": (record.clip, "x"), "span": (0, 5), "reference": 0, "aligned": False, "not_driven": 0}
    return CrossRecord(*words, **facts, motion=record.motion, scores=scores, **places)


def write_records(folder: Path, records: list[ClipRecord]) -> None:
    """The clips' records, as an evaluation leaves them for later comparisons."""
    for record in records:
        write_json(folder / "records" / f"{record.clip}.json", {**record.to_json(), "schema": 2, "key": "k"})


class Page(HTMLParser):
    """Tags, sources and visible text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.texts))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "poster", "srcset")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
