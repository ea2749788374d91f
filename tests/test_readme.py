"""The front door holds: the README's Python runs, its table is the plan's, its links and commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from PIL import Image
from skimage import data

import fye_model
from fye_model.config import SamplingConfig
from fye_model.evaluation.signals import EXPRESSION, POSE
from tasks.faces.landmarker import LandmarkerAsset
from tasks.media.read import read_frames
from tasks.plan import stage_table
from tests.documents import ROOT, blocks
from tests.fye_model.animation.tiny import SIZE, build_tiny, describe_tiny
from tests.tasks.videos import encode

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
DOCUMENTS += sorted((ROOT / "datasets").rglob("*.md"))


def commands() -> set[str]:
    """What can follow `fye`."""
    from flows.cli import app

    return {name for name in app if not name.startswith("-")}


def test_the_python_example_animates_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample_clips: list[Path], landmarker_asset: LandmarkerAsset
) -> None:
    (example,) = [block for block in blocks("README.md") if block.language == "python"]
    assert 6 <= len(example.text.splitlines()) <= 10
    pipeline = build_tiny()
    pipeline.description = describe_tiny(sampling=SamplingConfig(steps=2))
    pipeline.save_pretrained(tmp_path / "work/demo/model")
    count = 5
    encode(tmp_path / "driving.mp4", read_frames(sample_clips[0], slice(0, count)))
    Image.fromarray(data.astronaut()).save(tmp_path / "portrait.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example.text, "README.md", "exec"), names)
    with Image.open("out.gif") as written:
        assert (written.n_frames, written.size) == (count, (SIZE, SIZE))


def test_every_exported_name_is_there_and_importing_the_package_loads_nothing_heavy() -> None:
    assert [name for name in fye_model.__all__ if not hasattr(fye_model, name)] == []
    assert set(fye_model.__all__) <= set(dir(fye_model))
    with pytest.raises(AttributeError, match="exports DrawnLandmarks"):
        _ = fye_model.NoSuchName
    code = "import fye_model, sys; print([name for name in ('torch', 'numpy', 'pydantic') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


def test_the_table_of_stages_is_the_plans() -> None:
    assert stage_table() in (ROOT / "README.md").read_text(), f"put this into README.md:\n{stage_table()}"


def test_the_map_of_the_house_has_every_room() -> None:
    house = (ROOT / "README.md").read_text().partition("## Map of the house")[2].partition("<details>")[0]
    rooms = [
        file.parent.relative_to(ROOT) for top in ("tasks", "fye_model") for file in ROOT.glob(f"{top}/*/__init__.py")
    ]
    named = [f"`{room.as_posix()}/`" for room in [*rooms, *map(Path, ("flows", "datasets", "docs", "tests"))]]
    named += [f"`{file.name}`" for file in [*ROOT.glob("prefect.*"), ROOT / "Containerfile"]]
    assert len(rooms) > 15 and [name for name in named if name not in house] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_something(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if "://" not in target:
            place, _, heading = target.partition("#")
            file = document if not place else document.parent / place
            assert file.exists(), f"{document}: {target}"
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE) if heading else []
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}  # as GitHub's
            assert not heading or heading in anchors, target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_tests_and_code_that_a_text_names_exist(document: Path) -> None:
    text = document.read_text()
    places = {place for place in re.findall(r"`((?:tests|tasks|flows|fye_model)/[\w/.]+)`", text)}
    missing = {place for place in places if not (ROOT / place).exists()}
    known = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert not missing | (set(re.findall(r"\btest_\w+\.py\b", text)) - known)


def test_every_command_that_is_advised_exists() -> None:
    """In documents, messages and comments: `fye` and a word, where it is written as a command."""
    code = [path for folder in ("flows", "tasks", "fye_model") for path in (ROOT / folder).rglob("*.py")]
    others = [ROOT / "prefect.yaml", *(ROOT / "tasks").rglob("*.html")]
    advised: dict[str, str] = {}
    for path in [*DOCUMENTS, *code, *others]:
        for word in re.findall(r"(?:`|^\s*|[#:;] )fye ([a-z][a-z-]+)", path.read_text(), re.MULTILINE):
            advised[word] = path.relative_to(ROOT).as_posix()
    assert {"retrain", "animate", "evaluate"} <= advised.keys(), "the search finds commands"
    assert {word: place for word, place in advised.items() if word not in commands()} == {}


def test_documents_that_messages_name_exist() -> None:
    """No text of the program sends people to a paper, section or file that is not in the repository."""
    for path in (path for folder in ("flows", "tasks", "fye_model") for path in (ROOT / folder).rglob("*.py")):
        for name in re.findall(r"\b[A-Z]{4,}(?:\.md| §\d)", path.read_text()):
            assert (ROOT / name).exists(), f"{path}: {name}"


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
    assert project["version"] in (ROOT / "CHANGELOG.md").read_text()
    assert (ROOT / "fye_model" / "py.typed").exists()


def test_the_glossary_has_every_signal() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text()
    assert [signal.name for signal in EXPRESSION if f"`{signal.name}`" not in glossary] == []
    assert [signal.name for signal in POSE if signal.name not in glossary] == []
