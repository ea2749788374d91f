"""The benchmark's verdict: red for what is slower than stored, or held to nothing; never in continuous integration."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks.gate import BENCHES, RATIOS, TOLERANCE, judge, main


def test_slower_than_stored_is_red_and_within_tolerance_is_green() -> None:
    stored = {"extraction": 1.5, "drawing": 0.2}
    lines, green = judge({"extraction": 1.5 * (1 + TOLERANCE) * 0.999, "drawing": 0.1}, stored)
    assert green and all(line.startswith("green") for line in lines) and "50% faster" in lines[1]
    lines, green = judge({"extraction": 1.5 * (1 + TOLERANCE) * 1.001, "drawing": 0.2}, stored)
    assert not green and lines[0].startswith("RED") and lines[1].startswith("green")


def test_what_has_no_stored_ratio_is_red() -> None:
    lines, green = judge({"loading": 0.1}, {})
    assert not green and "--store" in lines[0]


def test_every_bench_has_a_stored_ratio() -> None:
    assert json.loads(RATIOS.read_text()).keys() == BENCHES.keys()


def test_a_bench_refuses_to_run_in_continuous_integration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(SystemExit, match="by hand"):
        main(["drawing"])
