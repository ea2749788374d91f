"""`fye stats`, `coverage`, `review`, `card` and `look`: a data set, as the last run left it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from flows.options import TOLD, Json, Told, Work


def stats(*, work: Work = "work/retrain", json: Json = False) -> int:
    """Tell what a data set holds: funnel with reasons, hours, subjects, sizes, expressions."""
    from tasks.jobs.surveys import survey
    from tasks.survey.coverage import coverage_lines
    from tasks.survey.named import named_lines
    from tasks.survey.stats import stats_lines

    found = survey(work)
    if json:
        print(found.stats.model_dump_json(by_alias=True, indent=1))
        return 0
    parts = stats_lines(found.stats), coverage_lines(found.coverage, 0), named_lines(found.named)
    print("\n\n".join("\n".join(part) for part in parts if part))
    return 0


def coverage(
    *,
    work: Work = "work/retrain",
    output: Annotated[Path | None, Parameter(help="Folder for coverage.png, .md and .json.")] = None,
    json: Json = False,
) -> int:
    """Tell what each subject shows and lacks of expressions, poses and gazes, what to record next, how old it is."""
    from tasks.jobs.surveys import coverage_json, coverage_text, survey, write_coverage

    if output is not None and output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file; give a folder")
    found = survey(work)
    written = None if output is None else write_coverage(found, output)
    if json:
        import json as module

        print(module.dumps(coverage_json(found), indent=1, ensure_ascii=False))
    else:
        print(coverage_text(found), end="")
        if written is not None:
            print(f"\nwritten: {written}, coverage.md and coverage.json beside it")
    return 0


def card(
    *,
    work: Work = "work/retrain",
    output: Annotated[Path | None, Parameter(help="The Markdown file; WORK/datacard.md without it.")] = None,
    title: Annotated[str | None, Parameter(help="Of the data set; the work folder's name without it.")] = None,
    told: Told = TOLD,
) -> int:
    """Write the data set's card: sources, licences, consent, hours, people, what was rejected and what it shows."""
    from tasks.jobs.surveys import write_card

    path = str(write_card(work, output, title))
    told.end({"card": path}, path)
    return 0


def review(
    *,
    work: Work = "work/retrain",
    output: Annotated[Path | None, Parameter(help="Folder for the page; WORK/review without it.")] = None,
    which: Annotated[Literal["all", "kept", "rejected"], Parameter(help="Of which clips.")] = "all",
    subject: Annotated[str | None, Parameter(help="Of this subject alone.")] = None,
    take: Annotated[Path | None, Parameter(help="Bring in decisions that the page saved; the next run obeys.")] = None,
    told: Told = TOLD,
) -> int:
    """Make a page of every clip with landmarks, masks and reasons, on which clips are kept or rejected by key press."""
    from tasks.engine.store import existing_store
    from tasks.jobs.review import review as make
    from tasks.workspace.decisions import DECISIONS, take_decisions

    if take is not None:
        changed, of = take_decisions(existing_store(work), take)
        said = f"{changed} of {of} decisions are new: {work}/{DECISIONS}; the next run with --work {work} obeys them"
        told.end({"decisions": f"{work}/{DECISIONS}", "new": changed, "of": of}, said)
        return 0
    made = make(work, output, which, subject)
    said = f"{made.clips} clips, {made.lost} that never became one: {made.page}"
    told.end({"page": str(made.page), "clips": made.clips, "lost": made.lost}, said)
    return 0


def look(
    *,
    work: Work = "work/retrain",
    output: Annotated[Path, Parameter(help="Where to write what was decided, for fye review --take.")],
    hands: Annotated[bool, Parameter(help="Hands over the face, by hand_landmarker.task.", negative=())] = False,
    unwanted: Annotated[bool, Parameter(help="Unwanted content, by a classifier.", negative=())] = False,
    classifier: Annotated[Path | None, Parameter(help="Its folder; the asset content_classifier without it.")] = None,
    label: Annotated[tuple[str, ...], Parameter(help="Label of what is unwanted. May be given often.")] = ("nsfw",),
    most: Annotated[float, Parameter(help="The most that these labels may have in a frame.")] = 0.5,
    told: Told = TOLD,
) -> int:
    """Look at the kept clips with models that no run needs, and write whom to reject as decisions to be brought in."""
    from tasks.jobs.look import Wanted, look

    found = look(work, Wanted(hands, unwanted, classifier, label, most), output)
    against = [one for one in found if one.reasons]
    told.end(
        {
            "output": str(output),
            "looked_at": len(found),
            "against": [{"clip": o.clip.clip, "name": o.clip.name, "reasons": list(o.reasons)} for o in against],
        },
        *(f"{one.clip.name}: {'; '.join(one.reasons)}" for one in against),
        f"{len(against)} of {len(found)} kept clips: {output}",
        f"to reject them in the next run: fye review --work {work} --take {output}",
    )
    return 0


def register(app: App) -> None:
    """Add the commands to the command line."""
    app.command(stats)
    app.command(coverage)
    app.command(review)
    app.command(card)
    app.command(look)
