"""A user study made of a bench and methods' videos: cases drawn, names hidden, a page and its videos. A job, no stage.

Written whole or not at all. Every result is encoded anew, at one size and without its metadata: a codec, a resolution
or a title would tell which method it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from fye_model.animation.description import this_software
from fye_model.files import file_digest, json_digest, whole_folder, write_atomic, write_json
from tasks.bench.check import need_bench, result_problems
from tasks.bench.frames import ProbeRow, picture_at_size, probe_to_the_end, video_at_size
from tasks.bench.manifest import MANIFEST, Bench, PairRow
from tasks.bench.methods import Method, find_method
from tasks.engine.items import Quarantine
from tasks.media.write import write_video
from tasks.results.pictures import save_png
from tasks.study.draw import choose_pairs, hide
from tasks.study.manifest import LETTERS, PAGE_FOLDER, SCHEMA, STUDY, Study, StudySettings, study_id
from tasks.study.page import INDEX, MEDIA, ShownCase, study_page

Log = Callable[[str], None]


def build_study(
    bench: Path, methods: Mapping[str, Path], output: Path, settings: StudySettings, log: Log = print
) -> Study:
    """Write a study of two or more methods' videos of a bench into the folder `output`.

    methods: name -> folder of `<portrait>__<driving>.mp4`. The same bench, videos and settings give the same study.
    Raises ValueError that names everything wrong before anything is encoded: too few methods, an output that holds
    something else, a bench that is not whole, videos that are missing, extra, unreadable or not the driver's length.
    """
    if not 2 <= len(methods) <= len(LETTERS):
        raise ValueError(f"a study compares 2 to {len(LETTERS)} methods, got {len(methods)}; give more --method")
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ValueError(f"--output {output} is there already, perhaps with answers in it; give a new folder")
    made = need_bench(bench)
    pairs = choose_pairs(made, settings.pairs, settings.cases, settings.seed)
    found = [find_method(made, name, Path(folder)) for name, folder in methods.items()]
    _check(made, pairs, found)
    study = _describe(made, pairs, found, settings)
    with whole_folder(output) as folder:
        shown = _write_media(folder / PAGE_FOLDER / MEDIA, made, study, found, log)
        write_atomic(folder / PAGE_FOLDER / INDEX, study_page(study, shown).encode())
        write_json(folder / STUDY, study.model_dump(mode="json", by_alias=True))
    return study


def _check(bench: Bench, pairs: Sequence[PairRow], methods: Sequence[Method]) -> None:
    """ValueError names all that is wrong with the methods' folders, and with the videos that would be shown."""
    drawn = replace(bench, pairs=tuple(pairs))
    problems: list[str] = []
    for method in methods:
        problems += method.problems
        videos = {pair.name: _probe(method.videos[pair.name]) for pair in pairs if pair.name in method.videos}
        problems += result_problems(drawn, method.name, videos)
    if problems:
        told = "\n".join(f"  {problem}" for problem in problems)
        raise ValueError(f"{len(problems)} problems with the results, so no study was built:\n{told}")


def _probe(video: Path) -> ProbeRow | str:
    try:
        return probe_to_the_end(video)
    except Quarantine as bad:
        return f"{bad.reason}: {bad.message}"
    except OSError as error:
        return error.strerror or str(error)


def _describe(bench: Bench, pairs: Sequence[PairRow], methods: Sequence[Method], settings: StudySettings) -> Study:
    header = bench.header
    study = Study(
        schema=SCHEMA,
        id="",
        bench={
            "name": header.name,
            "protocol": header.protocol,
            "manifest_sha256": file_digest(bench.folder / MANIFEST),
        },
        software=this_software(),
        made=settings,
        methods=tuple(method.name for method in methods),
        videos={
            method.name: json_digest({pair.name: file_digest(method.videos[pair.name]) for pair in pairs})
            for method in methods
        },
        cases=hide(pairs, [method.name for method in methods], settings.seed),
    )
    return study.model_copy(update={"id": study_id(study)})


def _write_media(
    folder: Path, bench: Bench, study: Study, methods: Sequence[Method], log: Log
) -> tuple[ShownCase, ...]:
    """Everything that the page shows, at one size, under names that tell nothing."""
    size, crf = study.made.size, study.made.crf
    videos = {method.name: method.videos for method in methods}
    pictures: dict[str, str] = {}  # portrait's id -> file of the page
    drivings: dict[str, str] = {}
    shown = []
    for number, case in enumerate(study.cases, 1):
        pair = case.pair
        driver = bench.driver(pair)
        if case.portrait not in pictures:
            pictures[case.portrait] = f"p{len(pictures) + 1}.png"
            picture = picture_at_size(bench.path(bench.portrait(pair).file), size)
            save_png(Image.fromarray(picture), folder / pictures[case.portrait])
        results = {letter: f"{case.id}-{letter}.mp4" for letter in case.slots}
        sources = {results[letter]: videos[method][pair.name] for letter, method in case.slots.items()}
        if case.driving not in drivings:
            drivings[case.driving] = f"d{len(drivings) + 1}.mp4"
            sources[drivings[case.driving]] = bench.path(driver.file)
        for name, path in sources.items():
            write_video(folder / name, video_at_size(path, size), driver.fps, crf)
        shown.append(ShownCase(case.id, pictures[case.portrait], drivings[case.driving], results))
        log(f"case {number} of {len(study.cases)}: {pair.name}")
    return tuple(shown)
