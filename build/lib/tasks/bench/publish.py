"""What a scored bench hands to people: tables and a model's videos at fixed places of the output folder."""

from __future__ import annotations

from collections.abc import Mapping

from fye_model.files import file_digest
from tasks.bench.inputs import Videos
from tasks.bench.manifest import MANIFEST, Bench
from tasks.bench.protocols import ProtocolName, terms
from tasks.bench.tables import TABLES_FOLDER, Scores, side_by_side, write_tables
from tasks.workspace.run import Run
from tasks.workspace.summary import Results

VIDEOS_FOLDER = "videos"


def publish_scores(
    run: Run, bench: Bench, scores: Scores, protocol: ProtocolName, about: Mapping[str, str] | None = None
) -> Results:
    """Write the tables; returns where they are. about: more to read the numbers with."""
    digest, root = file_digest(bench.folder / MANIFEST), run.local_root
    found = side_by_side(bench, digest, terms(protocol, run.landmarker.model, about), scores)
    write_tables(found, root / TABLES_FOLDER)
    names = {"tables": "table.html", "markdown": "table.md", "numbers": "scores.json"}
    return Results(outputs={label: str(root / TABLES_FOLDER / name) for label, name in names.items()})


def publish_videos(run: Run, videos: Videos, results: Results) -> Results:
    """Put a model's videos beside the tables, named as `fye score` wants them."""
    for name, ref in videos.items():
        run.store.write_bytes(f"{VIDEOS_FOLDER}/{name}.mp4", run.store.read_bytes(ref.path))
    place = str(run.local_root / VIDEOS_FOLDER)
    return results.model_copy(update={"outputs": {**(results.outputs or {}), "videos": place}})
