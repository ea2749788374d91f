"""A model folder as users of diffusers load it: `DiffusionPipeline.from_pretrained` in a process of its own, and names
on a hub, which here is a small server."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from safetensors.torch import load_file, save_file

from fye_model.animation.pipeline import FollowYourEmojiPipeline
from tests.fye_model.animation.tiny import build_tiny, describe_tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOAD = """
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained({folder!r})
weights = pipeline.denoiser.parameters()
print(type(pipeline).__name__, pipeline.description.size, sum(float(one.detach().double().sum()) for one in weights))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model's folder, which is not changed."""
    pipeline = build_tiny()
    pipeline.description = describe_tiny()
    pipeline.save_pretrained(tmp_path_factory.mktemp("diffusers") / "model")
    return tmp_path_factory.getbasetemp() / "diffusers0" / "model"


def fresh(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.mark.parametrize(
    "code", ["import fye_model" + LOAD, LOAD.replace("\n", "\nimport fye_model\n", 2)], ids=["before", "after"]
)
def test_diffusers_knows_the_pipeline_wherever_fye_model_is_imported(folder: Path, code: str) -> None:
    done = fresh(code.format(folder=str(folder)))
    assert done.returncode == 0, done.stderr
    name, size, weights = done.stdout.split()
    loaded = FollowYourEmojiPipeline.from_pretrained(folder).denoiser
    there = sum(float(parameter.detach().double().sum()) for parameter in loaded.parameters())
    assert (name, int(size), float(weights)) == ("FollowYourEmojiPipeline", 32, there)
    lines = collections.Counter(re.split(r"[\r\n]+", re.sub(r"\d+", "", done.stderr)))
    assert "accelerate" not in done.stderr and "Traceback" not in done.stderr
    assert not [line for line, often in lines.items() if often > 1 and "it/s" not in line and line], done.stderr


@pytest.mark.parametrize(
    "file", ["denoiser/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "image_encoder/model"]
)
def test_weights_that_diffusers_leaves_random_are_an_error_there_too(folder: Path, tmp_path: Path, file: str) -> None:
    import diffusers

    shutil.copytree(folder, tmp_path / "model")
    path = tmp_path / "model" / f"{file}.safetensors"
    weights = load_file(path)
    name = sorted(weights)[-1]
    save_file({key: value for key, value in weights.items() if key != name}, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"{path.parent.name} lacks 1 weights of a .*{re.escape(name)}"):
        diffusers.DiffusionPipeline.from_pretrained(tmp_path / "model")


def test_a_component_that_was_handed_in_is_not_looked_for_in_the_folder(folder: Path, tmp_path: Path) -> None:
    import diffusers

    shutil.copytree(folder, tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "vae")
    other = build_tiny(seed=1).vae
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "model", vae=other)
    assert pipeline.vae is other and pipeline.description == describe_tiny()


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A server that has one model, `lab/model`, and what it was asked for."""
    asked: list[str] = []
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            asked.append(self.path)
            path, _, _ = self.path.partition("?")
            if path.startswith("/api/models/lab/model"):
                tree = [
                    {
                        "type": "file",
                        "path": name,
                        "size": file.stat().st_size,
                        "oid": hashlib.sha1(name.encode()).hexdigest(),
                    }
                    for name, file in files.items()
                ]
                siblings = [{"rfilename": name} for name in files]
                answer = tree if "/tree/" in path else {"id": "lab/model", "sha": COMMIT, "siblings": siblings}
                self.answer(json.dumps(answer).encode())
            elif path.removeprefix(f"/lab/model/resolve/{COMMIT}/") in files:
                self.answer(files[path.removeprefix(f"/lab/model/resolve/{COMMIT}/")].read_bytes())
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *said: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


FETCHED = """
from fye_model import FollowYourEmojiPipeline
print(FollowYourEmojiPipeline.from_pretrained("lab/model", revision="main").description.size)
try:
    FollowYourEmojiPipeline.from_pretrained("lab/nothing")
except ValueError as error:
    print(error)
"""
OFFLINE = """
from fye_model import FollowYourEmojiPipeline
FollowYourEmojiPipeline.from_pretrained({folder!r}).save_pretrained({copy!r})
print(FollowYourEmojiPipeline.from_pretrained("lab/model", revision="main").description.size)
for name in ("lab/nothing", "work/demo/model", "nothing"):
    try:
        FollowYourEmojiPipeline.from_pretrained(name)
    except ValueError as error:
        print(error)
"""


def test_a_hubs_model_is_fetched_whole_without_code_and_kept_and_what_is_loaded_and_saved_says_nothing(
    folder: Path, tmp_path: Path
) -> None:
    """Without a network, a name that is neither here nor kept is one clear line."""
    shutil.copytree(folder, tmp_path / "there")
    for name in ("pipeline.py", "vae/diffusion_pytorch_model.bin"):
        (tmp_path / "there" / name).write_text("raise SystemExit(3)")
    home = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    with hub(tmp_path / "there") as (address, asked):
        done = fresh(FETCHED, **home, HF_ENDPOINT=address)
    assert done.stdout.startswith("32\nlab/nothing: there is no such folder, and the hub did not give"), done.stderr
    assert any("denoiser/" in path for path in asked)
    assert not [path for path in asked if path.endswith((".py", ".bin"))], asked

    copy = tmp_path / "copy"
    kept = fresh(OFFLINE.format(folder=str(folder), copy=str(copy)), **home | {"HF_HUB_OFFLINE": "1"})
    assert (kept.returncode, kept.stderr) == (0, "")
    size, *said = kept.stdout.splitlines()
    assert size == "32" and len(said) == 3 and all("no such folder" in line for line in said), kept.stdout
    assert ["the hub" in line for line in said] == [True, False, False]
    assert (copy / "model_index.json").is_file()
