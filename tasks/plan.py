"""The stages in the order in which they work. Only flows import this: it is the whole house in one list."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.clips import CLIPS
from tasks.encoders import ENCODERS
from tasks.engine.contract import Kind
from tasks.engine.stage import AnyStage
from tasks.evaluate import EVALUATE
from tasks.landmarks import LANDMARKS
from tasks.latents import LATENTS
from tasks.lip_sync import LIPSYNC
from tasks.report import REPORT
from tasks.screening import SCREENING
from tasks.select import SELECT
from tasks.train import STAGE1, STAGE2

STAGES: tuple[AnyStage, ...] = (
    CLIPS,
    LANDMARKS,
    LIPSYNC,
    SCREENING,
    ENCODERS,
    LATENTS,
    STAGE1,
    STAGE2,
    SELECT,
    EVALUATE,
    REPORT,
)
FROM_OUTSIDE = frozenset({Kind.SOURCE, Kind.REENACTED, Kind.EARLIER})


def stage_named(name: str) -> AnyStage:
    """The stage of this name; ValueError lists the names there are."""
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise ValueError(f"there is no stage {name!r}; the stages are {', '.join(stage.name for stage in STAGES)}")


def wiring_problems(stages: Iterable[AnyStage] = STAGES) -> list[str]:
    """What a stage reads that no earlier stage writes."""
    made: set[str] = set(FROM_OUTSIDE)
    problems = []
    for stage in stages:
        problems += [
            f"{stage.name} reads {name}, a {kind}, which no earlier stage writes"
            for name, kind in stage.reads.items()
            if kind not in made
        ]
        made |= set(stage.writes.values())
    return problems


def stage_table(stages: Iterable[AnyStage] = STAGES) -> str:
    """The stages as a Markdown table, for the README."""
    rows = ["| stage | reads | writes | takes |", "|---|---|---|---|"]
    for stage in stages:
        reads, writes = (", ".join(dict.fromkeys(kinds.values())) or "–" for kinds in (stage.reads, stage.writes))
        rows.append(f"| `{stage.name}` | {reads} | {writes} | {stage.resources} |")
    return "\n".join(rows) + "\n"
