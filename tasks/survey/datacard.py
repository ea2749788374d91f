"""A data set's card, written from the set itself: sources, licences, consent, people, hours, dates, what was rejected.

What nobody wrote down is told to be unknown, never guessed: licences and consent come from the sources' cards, dates of
recordings from tables of footage, and no age, sex or origin of anybody is estimated.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import yaml

from fye_model.version import this_software
from tasks.footage.card import Card
from tasks.results.verdict import counted
from tasks.survey.coverage import Coverage, as_rows
from tasks.survey.dates import RecordingDates, date_lines
from tasks.survey.records import HeldSource, Holdings
from tasks.survey.stats import DatasetStats
from tasks.survey.words import length, plain

_UNKNOWN = "not known"
_MOST_REASONS = 12
_MOST_SUBJECTS = 200

Cards = Mapping[str, Card]


def datacard(
    holdings: Holdings, stats: DatasetStats, coverage: Coverage, dates: RecordingDates, title: str, cards: Cards
) -> str:
    """The card as Markdown, facts for programs between two lines of `---` first. cards: of sources, by name."""
    groups: dict[str | None, list[HeldSource]] = defaultdict(list)
    for source in holdings.sources:
        groups[source.card].append(source)
    licences = sorted({_licence(source, cards) for source in holdings.sources})
    consents = sorted({_consent(cards.get(name) if name else None) for name in groups})
    facts = {
        "title": title,
        "written_by": this_software(),
        "run": stats.run_started,
        "recipe": stats.recipe,
        "landmark_model": stats.landmark_model,
        "hours": {"kept": stats.hours_kept, "clips": stats.hours_of_clips, "videos": stats.hours_of_sources},
        "clips": {"kept": len(holdings.kept), "all": len(holdings.clips)},
        "subjects": len(holdings.subjects),
        "recorded": dates.model_dump(exclude={"subjects"}),
        "licences": licences,
        "consent": consents,
    }
    head = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=1000)
    shapes = "blendshapes" if any(aspect.told for aspect in coverage.aspects if aspect.group == "expression") else ""
    with_each = ", ".join(filter(None, ("landmarks", "head pose", shapes)))
    parts = [
        f"---\n{head}---",
        f"# {plain(title)}",
        f"{counted(len(holdings.kept), 'clip')} of {_people(len(holdings.subjects))}, {length(stats.hours_kept)} of "
        f"square video of one face each, with {with_each} and two masks. Written by `fye card` from the set itself; "
        "numbers are those of its last run.",
        "\n".join(_source_lines(holdings, groups, cards)),
        "\n".join(_people_lines(stats)),
        "\n".join(["## When it was recorded", "", *(date_lines(dates, _MOST_SUBJECTS) or ["No clip is kept."])]),
        "\n".join(_funnel_lines(holdings, stats)),
        "\n".join(_coverage_lines(coverage)),
        _LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


def _source_lines(holdings: Holdings, groups: Mapping[str | None, Sequence[HeldSource]], cards: Cards) -> list[str]:
    kept = Counter(clip.source_id for clip in holdings.kept)
    lines = ["## Sources, licences, consent", ""]
    lines += [
        "| source | videos | length | kept clips | licence of the videos | consent |",
        "|---|---:|---:|---:|---|---|",
    ]
    for name in sorted(groups, key=str):
        card = cards.get(name) if name else None
        sources = groups[name]
        licences = Counter(_licence(source, cards) for source in sources)
        told = "; ".join(text if len(licences) == 1 else f"{text} ({count})" for text, count in licences.items())
        title = plain(card.title) if card else plain(name or "no source named")
        clips = sum(kept[source.source] for source in sources)
        lasts = length(sum(source.seconds for source in sources) / 3600)
        lines.append(f"| {title} | {len(sources)} | {lasts} | {clips} | {plain(told)} | {plain(_consent(card))} |")
    for card in (cards[name] for name in sorted(filter(None, groups)) if name in cards):
        if not (card.citation or card.address):
            continue
        lines += ["", f"{plain(card.title)}: {plain(' '.join(filter(None, (card.citation, card.address))))}"]
    places = Counter(source.place for source in holdings.sources if source.place)
    if places:
        lines += ["", "Recorded " + ", ".join(f"{place}: {count}" for place, count in sorted(places.items())) + "."]
    return lines


def _licence(source: HeldSource, cards: Cards) -> str:
    card = cards.get(source.card) if source.card else None
    text = source.licence or (card.licence.of_the_videos.text if card else _UNKNOWN)
    from_card = card is not None and text == card.licence.of_the_videos.text
    unread = from_card and card is not None and not card.licence.of_the_videos.verified and text != _UNKNOWN
    return f"{text} (not verified)" if unread else text


def _consent(card: Card | None) -> str:
    return (card.consent if card else None) or _UNKNOWN


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


def _people_lines(stats: DatasetStats) -> list[str]:
    minutes = sorted((line.minutes for line in stats.subjects if line.kept), reverse=True)
    lines = ["## People", ""]
    if not minutes:
        return [*lines, "Nobody: no clip is kept."]
    middle = minutes[len(minutes) // 2]
    lines += [
        f"{_people(len(minutes))}, {minutes[-1]:.1f} to {minutes[0]:.1f} minutes each, median {middle:.1f}. Names are "
        "as the folders have them; age, sex and origin are not known and were not estimated.",
        "",
        "| person | kept clips | minutes | expressions shown |",
        "|---|---:|---:|---:|",
    ]
    shown = [line for line in sorted(stats.subjects, key=lambda line: -line.minutes) if line.kept]
    lines += [
        f"| {plain(line.subject)} | {line.kept} | {line.minutes:.1f} | {line.expressions} of {line.expressions_of} |"
        for line in shown[:_MOST_SUBJECTS]
    ]
    if len(shown) > _MOST_SUBJECTS:
        lines.append(f"| … and {len(shown) - _MOST_SUBJECTS} more | | | |")
    return lines


def _funnel_lines(holdings: Holdings, stats: DatasetStats) -> list[str]:
    lines = ["## What was rejected", "", "| step | left | lost there |", "|---|---:|---|"]
    for line in stats.funnel:
        lost = sorted(line.lost.items(), key=lambda pair: (-pair[1], pair[0]))
        more = f", and {len(lost) - _MOST_REASONS} more reasons" if len(lost) > _MOST_REASONS else ""
        reasons = ", ".join(f"{plain(reason)}: {count}" for reason, count in lost[:_MOST_REASONS])
        lines.append(f"| {line.step} | {line.count} {line.what} | {reasons}{more} |")
    kept = sum(clip.by_hand and clip.kept for clip in holdings.clips)
    rejected = sum(clip.by_hand and not clip.kept for clip in holdings.clips)
    if kept or rejected:
        lines += ["", f"By hand, against or beside the rules: {kept} clips kept, {rejected} rejected."]
    return lines


def _coverage_lines(coverage: Coverage) -> list[str]:
    lines = ["## What it shows", "", "| | what | seconds | people |", "|---|---|---:|---:|"]
    for aspect in as_rows(coverage):
        numbers = f"{aspect.seconds:.0f} | {aspect.subjects} of {aspect.of}" if aspect.told else "– | cannot be told"
        lines.append(f"| {aspect.group} | {aspect.label} | {numbers} |")
    lacking = [aspect.label for aspect in coverage.aspects if aspect.told and not aspect.subjects]
    if lacking:
        lines += ["", f"Shown by nobody for a second: {', '.join(lacking)}."]
    return lines


_LIMITS = """## Limits and rights

These are videos of people. A licence of a video is not the consent of who is seen in it: where consent is not known,
ask before you use the set for more than you may. Remove a person who objects: delete the folder and run again.

Landmarks, pose and expressions are a model's estimates. Seconds of an expression are counted by thresholds on its
blendshapes, not by people. Subjects are told apart by names of folders, not by faces."""
