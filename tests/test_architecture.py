"""The layout's rules: arrows run flows → tasks → fye_model, and each outside library is known in its place only."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [path for folder in ("flows", "tasks", "fye_model") for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found


def importers(package: str, folder: str) -> set[str]:
    paths = [path for path in FILES if path.is_relative_to(ROOT / folder)]
    return {path.relative_to(ROOT).as_posix() for path in paths if package in imports(path)}


@pytest.mark.parametrize("package", ["prefect", "ray", "ai_edge_litert", "mediapipe", "decord", "av", "flows", "tasks"])
def test_the_library_knows_nothing_of(package: str) -> None:
    assert importers(package, "fye_model") == set()


def test_networks_know_nothing_of_their_fast_blocks() -> None:
    for path in (ROOT / "fye_model" / "networks").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{name.name}" for name in node.names)]
            else:
                names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.startswith("fye_model.fast") for name in names), path


def test_tasks_know_nothing_of_flows() -> None:
    assert importers("flows", "tasks") == set()


def test_only_the_pool_knows_ray() -> None:
    knowing = {"tasks/engine/cluster.py", "tasks/engine/pool.py"}
    assert importers("ray", "tasks") | importers("ray", "flows") == knowing


def test_prefect_is_known_where_stages_are_cached_and_runs_are_shown() -> None:
    assert importers("prefect", "tasks") <= {
        "tasks/engine/stage.py",
        "tasks/engine/prefect_records.py",
        "tasks/engine/progress.py",
        "tasks/engine/limits.py",
        "tasks/workspace/page.py",
    }


def test_what_runs_the_landmark_models_is_known_where_they_are_run_and_made() -> None:
    running = {"tasks/faces/mediapipe_graph.py", "tasks/faces/fallback.py", "tasks/faces/hands.py"}
    assert importers("mediapipe", "tasks") == running
    assert importers("ai_edge_litert", "tasks") == {"tasks/faces/face_models.py"}


def test_only_the_page_of_the_studio_knows_gradio() -> None:
    """It comes with an extra, and reads what it may send and keep when it is imported."""
    assert importers("gradio", "tasks") | importers("gradio", "flows") == {"tasks/studio/page.py"}


def test_one_file_writes_atomically() -> None:
    """Whole or not at all, synced, under one kind of temporary name; the store has a name of its own to give."""
    calls = {path.relative_to(ROOT).as_posix() for path in FILES if "os.replace(" in path.read_text()}
    assert calls == {"fye_model/files.py"}


def test_datasets_hold_no_python() -> None:
    """A package of that name would make transformers believe that Hugging Face datasets is installed."""
    assert list((ROOT / "datasets").rglob("*.py")) == []


def test_every_module_of_the_library_imports_without_the_pipelines_packages() -> None:
    modules = [
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        for path in FILES
        if path.is_relative_to(ROOT / "fye_model") and path.stem != "__main__"
    ]
    code = f"""
import importlib, sys
for name in ("prefect", "ray", "ai_edge_litert", "mediapipe", "decord", "av"):
    sys.modules[name] = None
for name in {modules!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_planning_and_a_cached_run_load_nothing_that_only_work_needs() -> None:
    """Each of these is seconds and tens of megabytes, and ten thousand rows are to be looked at in half a gigabyte."""
    code = """
import sys
import flows.plan, flows.refresh, flows.retrain, flows.evaluate
heavy = "torch diffusers transformers scipy cv2 matplotlib ray mediapipe decord prefect.server.api.server".split()
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 60  # kernels excepted: theirs is one idea that cannot be cut
MEDIAN_LINES = range(80, 201)


def is_kernel(path: Path) -> bool:
    return "kernels" in path.parts


def test_files_stay_readable() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in FILES}
    long = {path.name: count for path, count in lines.items() if count > MOST_LINES and not is_kernel(path)}
    assert long == {}, "a file is one idea; split these"
    assert int(statistics.median(lines.values())) in MEDIAN_LINES


def test_functions_stay_readable() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.name}": count
        for path in FILES
        if not is_kernel(path)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (count := (node.end_lineno or 0) - node.lineno + 1) > MOST_LINES_OF_A_FUNCTION
    }
    assert long == {}, "a function fits on a screen; give its parts names"


ROOMS = sorted(path.parent for path in (ROOT / "tasks").glob("*/__init__.py"))


def modules_imported(path: Path) -> set[str]:
    """Modules of this project that a file imports when it runs, by their full names; type hints alone do not count."""
    tree = ast.parse(path.read_text())
    hints = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    known = {module_name(path) for path in FILES}
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in hints:
            continue
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found & known


def module_name(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


def test_no_room_of_helpers_imports_a_stage_or_a_job() -> None:
    stages = {f"tasks.{path.stem}" for path in (ROOT / "tasks").glob("*.py") if path.stem != "__init__"}
    helpers = [room for room in ROOMS if room.name != "jobs"]
    assert len(helpers) > 9
    for room in helpers:
        for path in room.rglob("*.py"):
            found = modules_imported(path)
            assert not found & stages and not any(name.startswith("tasks.jobs") for name in found), path


def test_at_the_front_door_are_the_stages_and_their_plan() -> None:
    at_the_door = {path.stem for path in (ROOT / "tasks").glob("*.py")} - {"__init__", "plan"}
    stages = {
        path.stem
        for path in (ROOT / "tasks").rglob("*.py")
        if re.search(r"^[A-Z0-9]+ = Stage\(", path.read_text(), re.M)
    }
    assert at_the_door == stages


def test_there_is_no_import_circle() -> None:
    arrows = {module_name(path): modules_imported(path) for path in FILES if path.stem != "__init__"}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in sorted(arrows.get(module, ())):
                visit(other, (*way, module))
            done.add(module)

    for module in arrows:
        visit(module, ())


def test_every_file_that_a_stage_reads_is_written_by_an_earlier_one() -> None:
    from tasks.plan import STAGES, wiring_problems

    assert wiring_problems() == []
    assert wiring_problems(STAGES[1:]) != [], "the check sees a stage that is missing"


def stages_run_by_flows() -> set[str]:
    """Names of the stages that `flows/wiring.py` runs."""
    import tasks.plan

    ran = re.findall(r"run\.stage\((\w+)", (ROOT / "flows" / "wiring.py").read_text())
    return {getattr(tasks.plan, name).name for name in ran}


def test_every_stage_of_the_plan_is_run_by_the_flows() -> None:
    from tasks.plan import STAGES

    assert stages_run_by_flows() == {stage.name for stage in STAGES}


def loaded_by(arguments: list[str]) -> set[str]:
    """Top-level packages that the command line has loaded when it ends."""
    code = f"""
import sys
sys.argv = ["fye", *{arguments!r}]
from flows.cli import app
app(result_action="return_value")
print("LOADED", *{{name.split(".")[0] for name in sys.modules}})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED ")[2].split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["retrain", "--help"]])
def test_help_and_version_load_nothing_slow(arguments: list[str]) -> None:
    loaded = loaded_by(arguments)
    assert "cyclopts" in loaded
    assert not loaded & {"torch", "prefect", "numpy", "pydantic", "diffusers", "ray", "mediapipe"}


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "--version"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == project["version"]
