"""The command line's part about sources of footage: `fye sources list`, `check`, `manifest`, `spans`, `merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows.options import TOLD, FollowLinks, SourceName, Told, Work

Lists = Annotated[Path | None, Parameter(help="Folder of the lists that the source's collectors published.")]
sources_app = App(name="sources", help="Sources of footage: what they are, what is here of them, what is missing.")


@sources_app.command(name="list")
def list_() -> int:
    """Name the sources that are known, with their licences and how their files are named."""
    from tasks.footage.card import card_names, load_card

    for name in card_names():
        card = load_card(name)
        print(f"{name:<10} {card.title}\n{'':<10} {card.layout}\n{'':<10} licence: {card.licence.of_the_videos.text}")
    return 0


@sources_app.command
def check(
    place: Annotated[Path, Parameter(help="A folder of videos, or a table of footage (.csv, .parquet).")],
    *,
    source: SourceName = None,
    lists: Lists = None,
    follow_links: FollowLinks = False,
) -> int:
    """Hold footage against its source: counts, what is missing by name, subjects, splits. Ends with 1 where it lacks.

    With --lists, what is missing is named by the published lists.
    """
    from tasks.footage.card import DEFAULT_CARD, load_card
    from tasks.footage.match import match_lines, match_lists
    from tasks.footage.published import read_lists
    from tasks.workspace.sources import Root, check_sources

    checked = check_sources(Root(str(place), None, source, follow_links))
    print("\n".join(checked.lines))
    if lists is None:
        return 0 if checked.complete else 1
    card = load_card(source or DEFAULT_CARD)
    listed = read_lists(card, lists)
    found = match_lists(card, listed, place, follow_links)
    print("\n".join(match_lines(card, listed, found)))
    return 1 if found.missing else 0


@sources_app.command
def manifest(
    source: Annotated[str, Parameter(help="A source with published lists: hdtf, vfhq, or a source.yaml.")],
    *,
    lists: Annotated[Path, Parameter(help="Folder of the published lists.")],
    videos: Annotated[Path, Parameter(help="Folder of the files that you have: cuts, whole videos, frame folders.")],
    output: Annotated[Path, Parameter(help="The table to write, .csv or .parquet, for `--videos`.")],
    follow_links: FollowLinks = False,
    all_: Annotated[bool, Parameter(name="--all", help="Name everything that is missing.", negative="")] = False,
    told: Told = TOLD,
) -> int:
    """Lists of spans in, local files in; a table of footage out, and what is missing by name. Fetches nothing."""
    from tasks.footage.card import load_card
    from tasks.footage.manifest import write_manifest
    from tasks.footage.match import match_lines, match_lists
    from tasks.footage.published import read_lists

    card = load_card(source)
    listed = read_lists(card, lists)
    found = match_lists(card, listed, videos, follow_links)
    for line in match_lines(card, listed, found, None if all_ else 20):
        told.log(line)
    if not found.rows:
        raise ValueError(f"no file below {videos} is named as {card.title} names them: {card.layout}")
    write_manifest(output, found.rows)
    said = f"{output}: {len(found.rows)} spans. Next: fye retrain --videos {output} --source {source}"
    told.end({"output": str(output), "spans": len(found.rows)}, said)
    return 0


@sources_app.command
def spans(
    place: Annotated[Path, Parameter(help="A folder of videos, or a table of footage (.csv, .parquet).")],
    *,
    output: Annotated[Path, Parameter(help="The table to write, .csv or .parquet, for `--videos`.")],
    most_s: Annotated[float, Parameter(help="Seconds that a span lasts at most.")] = 300.0,
    source: SourceName = None,
    follow_links: FollowLinks = False,
    told: Told = TOLD,
) -> int:
    """Long videos as a table of spans, which many workers then share. Short ones stay whole; nothing is decoded."""
    from tasks.footage.manifest import write_manifest
    from tasks.footage.spans import span_rows
    from tasks.workspace.sources import Root, checked_root

    rows = list(span_rows(checked_root(Root(str(place), None, source, follow_links)), output, most_s))
    write_manifest(output, rows)
    files = len({row.uri for row in rows})
    named = f" --source {source}" if source else ""
    said = f"{output}: {len(rows)} spans of {files} files. Next: fye retrain --videos {output}{named}"
    told.end({"output": str(output), "spans": len(rows), "files": files}, said)
    return 0


@sources_app.command
def merge(
    kept: Annotated[str, Parameter(help="The name of the person that is kept.")],
    *others: Annotated[str, Parameter(help="Further names of the same person.")],
    work: Work = "work/retrain",
) -> int:
    """Note that several names are one person, who then is never in two splits. The next run takes it up."""
    from tasks.engine.store import Store
    from tasks.workspace.sources import merge_subjects

    if not others:
        raise ValueError("give the other names too: fye sources merge KEPT OTHER …")
    for name, other in sorted(merge_subjects(Store(work), kept, others).items()):
        print(f"{name} -> {other}")
    return 0


def register(app: App) -> None:
    """Add the commands to the command line."""
    app.command(sources_app)
