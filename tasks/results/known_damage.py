"""Known damage to real clips, and which metric sees it: the table that `tests/benchmarks/damage.py` measures.

It stands in every report as an appendix, so that who reads a number also reads what it is blind to.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fye_model.config import Config
from fye_model.evaluation.table import BY_NAME
from tasks.results.grids import Grid, Number, heading, value_text

PLACE = Path(__file__).with_name("known_damage.json")
SEEN_IN = 0.75  # of the clips: a damage is seen where a metric is worse than under harmless damage in as many of them
TIMES_HARMLESS = 3.0
LEAST = 0.02  # of what the worst damage costs: less is not worth the name


class Row(Config):
    """One metric: its value over the clips under each damage, None where it says nothing, and whether it sees it."""

    metric: str
    values: tuple[Number, ...]
    seen: tuple[bool, ...]


class DamageTable(Config):
    """clips: how many; damages: their names in the order of every row's values, harmless: the one that is none."""

    clips: int
    frames: int
    size_px: int
    landmark_model: str
    packages: tuple[str, ...]
    damages: tuple[str, ...]
    harmless: str
    rows: tuple[Row, ...]

    @property
    def how(self) -> str:
        """What the table is, in a sentence."""
        return (
            f"{self.clips} real clips of {self.frames} frames where most moves, at {self.size_px} pixels, faces by "
            f"{self.landmark_model}; each clip against itself, damaged. Bold: in at least {SEEN_IN:.0%} of the clips "
            f"worse by more than {TIMES_HARMLESS:g} times what {self.harmless} costs, and over all by more than "
            f"{LEAST:.0%} of what the worst damage does"
        )


@cache
def known_damage() -> DamageTable:
    """The table that comes with this version."""
    return DamageTable.model_validate_json(PLACE.read_bytes())


def lines(table: DamageTable) -> list[tuple[str, list[tuple[str, bool]]]]:
    """A line for each metric: its name and unit, and under each damage the value as text and whether it is seen."""
    return [
        (
            heading(BY_NAME[row.metric]),
            [(value_text(value, None, None), seen) for value, seen in zip(row.values, row.seen, strict=True)],
        )
        for row in table.rows
    ]


def as_grid(table: DamageTable) -> Grid:
    """As Markdown has it: what is seen is bold."""
    rows = [(name, *(f"**{text}**" if seen else text for text, seen in cells)) for name, cells in lines(table)]
    return Grid("Known damage, and which metric sees it", ("metric", *table.damages), tuple(rows))
