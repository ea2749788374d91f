"""What raters said: numbers with intervals as records, and as tables that people read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from fye_model.config import Config
from fye_model.evaluation.preferences import INTERVAL, Agreement, Preferences, Share, preferences, ranks_of
from tasks.results.grids import Grid
from tasks.results.verdict import counted
from tasks.study.answers import Answers, Collected, LeftOut, whole_rankings
from tasks.study.manifest import QUESTIONS, Study

SCHEMA = 1
_ALIKE = "1 where all rank alike, 0 by chance"


class Estimate(Config):
    """A number and its 95% interval; none where there are too few raters or cases."""

    value: float
    interval: tuple[float, float] | None


class MethodScore(Config):
    """A method under one question. mean_rank: 1 is best. ranked_first: share of the rankings."""

    method: str
    mean_rank: Estimate
    ranked_first: Estimate


class Win(Config):
    """How often `ours` was ranked before `theirs`, and what the interval says against one half."""

    ours: str
    theirs: str
    share: Estimate
    choice: Literal["preferred", "not preferred", "cannot tell"]


class Agreed(Config):
    """How far raters of the same case agree; over `cases` that two or more ranked."""

    kendall_w: Estimate
    rank_correlation: Estimate
    cases: int


class QuestionScores(Config):
    """Everything about one question; `methods` with the best mean rank first."""

    question: str
    raters: int
    cases: int
    rankings: int
    methods: tuple[MethodScore, ...]
    wins: tuple[Win, ...]
    agreement: Agreed | None


class RaterRow(Config):
    """A rater's file and how much of it is there: rankings of those asked for; half: begun and not finished."""

    rater: str
    name: str
    file: str
    rankings: int
    half: int
    asked: int
    seconds: float


class StudyScores(Config):
    """scores.json."""

    schema_version: int = Field(SCHEMA, alias="schema")
    study: str
    bench: dict[str, str]
    methods: tuple[str, ...]
    cases: int
    interval: str
    questions: tuple[QuestionScores, ...]
    unanswered: tuple[str, ...]
    raters: tuple[RaterRow, ...]
    left_out: tuple[LeftOut, ...]


def aggregate(study: Study, collected: Collected) -> StudyScores:
    """Pool raters' answers. Raises ValueError where no file can be used."""
    if not collected.answers:
        told = "\n".join(f"  {file.file}: {file.reason}" for file in collected.left_out)
        raise ValueError(f"not one answer file can be used:\n{told}")
    found = {question.id: _question(study, question.id, collected.answers) for question in QUESTIONS}
    return StudyScores(
        schema=SCHEMA,
        study=study.id,
        bench=study.bench,
        methods=study.methods,
        cases=len(study.cases),
        interval=INTERVAL,
        questions=tuple(scores for scores in found.values() if scores is not None),
        unanswered=tuple(question for question, scores in found.items() if scores is None),
        raters=tuple(_rater(study, name, answers) for name, answers in collected.answers.items()),
        left_out=collected.left_out,
    )


def _question(study: Study, question: str, answers: Mapping[str, Answers]) -> QuestionScores | None:
    """None where nobody answered it."""
    places = {case.id: place for place, case in enumerate(study.cases)}
    slots = {case.id: case.slots for case in study.cases}
    ranks = np.full((len(answers), len(places), len(study.methods)), np.nan)
    for row, of in zip(ranks, answers.values(), strict=True):
        for (case, asked), order in whole_rankings(study, of).items():
            if asked == question:
                row[places[case]] = ranks_of([slots[case][letter] for letter in order], study.methods)
    if np.isnan(ranks).all():
        return None
    return _as_records(question, study.methods, preferences(ranks))


def _as_records(question: str, methods: tuple[str, ...], found: Preferences) -> QuestionScores:
    rows = [
        MethodScore(method=method, mean_rank=_estimate(rank), ranked_first=_estimate(first))
        for method, rank, first in zip(methods, found.mean_rank, found.ranked_first, strict=True)
    ]
    return QuestionScores(
        question=question,
        raters=found.raters,
        cases=found.cases,
        rankings=found.rankings,
        methods=tuple(sorted(rows, key=lambda row: row.mean_rank.value)),
        wins=tuple(
            Win(ours=methods[duel.first], theirs=methods[duel.second], share=_estimate(duel.wins), choice=duel.choice)
            for duel in found.duels
        ),
        agreement=None if found.agreement is None else _agreed(found.agreement),
    )


def _agreed(found: Agreement) -> Agreed:
    return Agreed(
        kendall_w=_estimate(found.kendall_w),
        rank_correlation=_estimate(found.rank_correlation),
        cases=found.cases,
    )


def _rater(study: Study, file: str, answers: Answers) -> RaterRow:
    begun = sum(bool(order) for of in answers.answers.values() for order in of.values())
    whole = len(whole_rankings(study, answers))
    return RaterRow(
        rater=answers.rater,
        name=answers.name,
        file=file,
        rankings=whole,
        half=begun - whole,
        asked=len(study.cases) * len(QUESTIONS),
        seconds=round((answers.saved - answers.started).total_seconds(), 1),
    )


def _estimate(share: Share) -> Estimate:
    return Estimate(value=share.value, interval=share.interval)


def grids(found: StudyScores) -> list[Grid]:
    """For each question the methods, the best first, and how often one was ranked before another."""
    tables = []
    for scores in found.questions:
        sizes = ((scores.raters, "rater"), (scores.cases, "case"), (scores.rankings, "ranking"))
        size = ", ".join(counted(*each) for each in sizes)
        rows = tuple((row.method, _rank(row.mean_rank), _percent(row.ranked_first)) for row in scores.methods)
        head = ("method", f"mean rank, 1 to {len(found.methods)} ↓", "ranked first ↑")
        tables.append(Grid(f"{_title(scores.question)} ({size})", head, rows))
        wins = tuple((f"{win.ours} before {win.theirs}", _percent(win.share), win.choice) for win in scores.wins)
        tables.append(
            Grid(f"{_title(scores.question)}: one method against another", ("pair", "share", "the first is"), wins)
        )
    return tables


def raters_grid(found: StudyScores) -> Grid:
    """A row a rater."""
    rows = tuple(
        (
            row.name or row.rater[:8],
            f"{row.rankings} of {row.asked}",
            str(row.half),
            f"{row.seconds / 60:.0f}",
            row.file,
        )
        for row in found.raters
    )
    return Grid(
        "Raters", ("rater", "rankings", "half-finished, not counted", "minutes from first to last", "file"), rows
    )


def notes(found: StudyScores) -> list[str]:
    """What the numbers have to be read with."""
    whole = sum(row.rankings == row.asked for row in found.raters)
    lines = [
        f"study {found.study} on the bench {found.bench['name']} ({found.bench['protocol']}, manifest "
        f"{found.bench['manifest_sha256'][:16]}): {counted(found.cases, 'case')} of {len(found.methods)} methods",
        f"{counted(len(found.raters), 'rater')}: {whole} answered everything, "
        f"{len(found.raters) - whole} a part, which counts",
        f"intervals: {found.interval}",
    ]
    for scores in found.questions:
        lines.append(f"{_title(scores.question)}: {_agreement(scores)}")
    lines += [f"{_title(question)}: nobody answered it" for question in found.unanswered]
    return [*lines, *(f"left out: {file.file}: {file.reason}" for file in found.left_out)]


def _agreement(scores: QuestionScores) -> str:
    if scores.agreement is None:
        return "agreement cannot be told: no case was ranked by two raters"
    of = scores.agreement
    return (
        f"raters of a case agree by a rank correlation of {_rank(of.rank_correlation)} ({_ALIKE}; Kendall's W "
        f"{_rank(of.kendall_w)}), over {counted(of.cases, 'case')}"
    )


def value_rows(found: StudyScores) -> list[list[object]]:
    """table.csv: a row a question, method (and other method) and measure."""
    rows: list[list[object]] = [
        ["question", "measure", "method", "other", "value", "low", "high", "choice", "raters", "cases", "rankings"]
    ]
    for scores in found.questions:
        counts = (scores.raters, scores.cases, scores.rankings)
        for row in scores.methods:
            rows.append([scores.question, "mean_rank", row.method, None, *_bounds(row.mean_rank), None, *counts])
            rows.append([scores.question, "ranked_first", row.method, None, *_bounds(row.ranked_first), None, *counts])
        for win in scores.wins:
            rows.append([scores.question, "wins", win.ours, win.theirs, *_bounds(win.share), win.choice, *counts])
        if of := scores.agreement:
            for name, share in (("kendall_w", of.kendall_w), ("rank_correlation", of.rank_correlation)):
                rows.append([scores.question, name, None, None, *_bounds(share), None, *counts])
    return rows


def ranking_rows(study: Study, collected: Collected) -> list[list[object]]:
    """rankings.csv: a row a ranked video, for analyses of one's own."""
    rows: list[list[object]] = [
        ["rater", "case", "portrait", "driving", "kind", "question", "method", "letter", "rank"]
    ]
    cases = {case.id: case for case in study.cases}
    for answers in collected.answers.values():
        for (name, question), order in sorted(whole_rankings(study, answers).items()):
            case = cases[name]
            about = (answers.rater, name, case.portrait, case.driving, case.kind, question)
            rows += [[*about, case.slots[letter], letter, rank] for rank, letter in enumerate(order, 1)]
    return rows


def _title(question: str) -> str:
    return next(one.title for one in QUESTIONS if one.id == question)


def _bounds(estimate: Estimate) -> tuple[float, float | None, float | None]:
    return (estimate.value, *(estimate.interval or (None, None)))


def _rank(estimate: Estimate) -> str:
    return f"{estimate.value:.2f}" + (
        "" if estimate.interval is None else f" [{estimate.interval[0]:.2f}, {estimate.interval[1]:.2f}]"
    )


def _percent(estimate: Estimate) -> str:
    between = "" if estimate.interval is None else " [{:.0f}, {:.0f}]".format(*(100 * end for end in estimate.interval))
    return f"{100 * estimate.value:.0f}%{between}"
