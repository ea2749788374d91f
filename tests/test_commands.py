"""Every command of README and docs is one that the programs take: its name, its options, the kind of their values."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from cyclopts import App
from cyclopts.exceptions import CycloptsError

from flows.cli import app
from tests.commands import Written, lines_of, spoken, written
from tests.documents import ROOT, blocks
from tests.readme_run import CARE

DOCUMENTS = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


def parsed(command: Written) -> str:
    """The name of what would run. AssertionError with the parser's word where it takes the command for another's."""
    try:
        found, _, _ = app.parse_args(list(command.words[1:]), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise AssertionError(f"{command.document}: {command}: {error}") from error
    assert not hasattr(found, "__self__"), f"{command.document}: {command}: a command of it is missing"
    return str(found.__name__)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_parser_takes_every_command_of_a_documents_blocks(document: str) -> None:
    commands = [command for command in written(document, "fye") if "$" not in str(command)]
    assert document != "README.md" or len(commands) > 30, "the search finds them"
    for command in commands:
        parsed(command)


def test_a_slip_of_the_pen_in_a_document_is_found() -> None:
    for words in (
        "retrain --recipes demo",
        "retrian --work x",
        "bench",
        "retrain --workers many",
        "animate a.png b.mp4",
    ):
        with pytest.raises(AssertionError):
            parsed(Written("a document", ("fye", *words.split())))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_and_options_that_a_text_speaks_of_exist(document: str) -> None:
    for command in spoken(document):
        known = app
        for word in command.words[1:]:
            if word.startswith("-"):
                assert word.rstrip(".,;:") in options_of(known), f"{document}: {command}"
            elif not word.startswith(("{", "(")) and isinstance(known, App) and word in set(known):
                known = known[word]


def options_of(command: App) -> set[str]:
    """Options of a command, or of what comes without a further word."""
    return {name for argument in command.assemble_argument_collection() for name in argument.names} | {"--help"}


def commands_of(known: App, words: tuple[str, ...] = ()) -> dict[str, App]:
    """Every command below one, by its words."""
    found: dict[str, App] = {}
    for word in known:
        if isinstance(below := known[word], App) and not word.startswith("-"):
            own = {" ".join((*words, word)): below} if below.default_command is not None else {}
            found |= {**own, **commands_of(below, (*words, word))}
    return found


def test_every_command_that_makes_something_may_be_told_in_json() -> None:
    made = {name: options for name, one in commands_of(app).items() if "--output" in (options := options_of(one))}
    assert len(made) > 15
    assert {name for name, options in made.items() if "--json" not in options} == {"stage"}, "which is for people alone"
    only_told = {name for name, options in made.items() if "--quiet" not in options}
    assert only_told == {"stage", "coverage", "history", "compare"}, "what these make is what they say"


def test_deployments_modules_and_targets_that_documents_name_exist() -> None:
    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    names = {
        f"{deployment['entrypoint'].split(':')[1].replace('_', '-')}/{deployment['name']}" for deployment in deployed
    }
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    seen = {"deployment": 0, "module": 0, "target": 0}
    for document in DOCUMENTS:
        text = "\n".join(lines_of(document))
        for name in re.findall(r"prefect deployment (?:run|schedule ls|schedule resume) (\S+)", text):
            assert name in names, f"{document}: {name}"
            seen["deployment"] += 1
        for name in re.findall(r"prefect .*deploy --name (\S+)", text):
            assert name in {known.split("/")[1] for known in names}, f"{document}: {name}"
        for name in re.findall(r"python -m ((?:tests|fye_model|flows|tasks)\.[\w.]+)", text):
            assert importlib.util.find_spec(name) is not None, f"{document}: {name}"
            seen["module"] += 1
        for name in re.findall(r"^make ([a-z]+)", text, re.MULTILINE):
            assert name in targets, f"{document}: make {name}"
            seen["target"] += 1
    assert all(seen.values()), seen


def test_the_slurm_recipe_is_a_script_that_the_shell_reads_and_its_command_is_ours(tmp_path: Path) -> None:
    (script,) = [block.text for block in blocks("docs/operations.md") if "#SBATCH" in block.text]
    (tmp_path / "job.sh").write_text(script)
    done = subprocess.run(["bash", "-n", str(tmp_path / "job.sh")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (command,) = [line for line in script.splitlines() if line.startswith("fye ")]
    assert parsed(Written("docs/operations.md", tuple(command.split(" & ")[0].split()))) == "retrain"
    assert re.search(r"^#SBATCH .*--signal=B:TERM@\d+", script, re.MULTILINE) and "trap 'kill -TERM $run" in script


def test_the_kubernetes_recipe_is_a_job_whose_arguments_are_ours_and_whose_volumes_exist() -> None:
    (text,) = [
        block.text for block in blocks("docs/operations.md") if block.language == "yaml" and "kind: Job" in block.text
    ]
    pod = yaml.safe_load(text)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert parsed(Written("docs/operations.md", ("fye", *container["args"]))) == "retrain"
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted.keys() == {volume["name"] for volume in pod["volumes"]} and mounted["shm"] == "/dev/shm"
    places = [container["args"][container["args"].index(option) + 1] for option in ("--recipe", "--videos", "--work")]
    assert all(any(place.startswith(mount) for mount in mounted.values()) for place in places)
    containerfile = (ROOT / "Containerfile").read_text()
    assert f"--uid {pod['securityContext']['runAsUser']}" in containerfile and '"fye"]' in containerfile


def test_the_recorded_run_takes_every_command_of_the_readme() -> None:
    """`python -m tests.readme_run` runs them all; a command that is new has to be given what it reads."""
    names = {parsed(command) for command in written("README.md", "fye")}
    assert names - CARE.keys() == set(), "say in tests/readme_run.py what they are run on"
    assert CARE.keys() - names == set(), "the README has them no more"
