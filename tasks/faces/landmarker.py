"""Where the landmark model comes from: a given folder, the cache, its public address, or a package registry.

The first place that has it wins, its sha256 is always checked, and the id of the model travels with everything that it
measures. What was tried is part of the error when nothing works.
"""

from __future__ import annotations

import http.client
import logging
import os
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from fye_model.asset_files import cache_folder, places
from fye_model.assets import FACE_LANDMARKER
from fye_model.files import file_digest, whole_file
from tasks.faces import fallback as fallback_model

LANDMARKER_FILE, LANDMARKER_URL = FACE_LANDMARKER.place, FACE_LANDMARKER.source
LANDMARKER_SHA256 = str(FACE_LANDMARKER.sha256)
LANDMARKER_ID = f"face_landmarker_v2:{LANDMARKER_SHA256[:8]}"
FALLBACK_FILE = "attention_mesh.task"
# packages whose versions may change what is found; OpenCV cuts out what the models see
LANDMARK_TOOLS = ("ai-edge-litert", "mediapipe", "opencv-contrib-python")

log = logging.getLogger(__name__)


class AssetError(ValueError):
    """A model file is missing or is not the one expected; the message says where it was looked for."""


@dataclass(frozen=True)
class LandmarkerAsset:
    """A checked landmark model. `model` is its id in landmark tables; `source` says where it came from."""

    path: Path
    model: str
    sha256: str
    has_matrix: bool
    source: str


def geometry_source(asset: LandmarkerAsset) -> str:
    """Where the canonical face of a landmark model is read, as an index names it: the model's file, or `mean_mesh`."""
    return str(asset.path) if asset.has_matrix else "mean_mesh"


def resolve_landmarker(folder: Path | None = None) -> LandmarkerAsset:
    """The landmark model to use, downloaded into the cache where it is not at hand.

    Order: `folder`, FYE_ASSETS, the cache, the public address, and at last another model out of the mediapipe 0.10.21
    wheel (`tasks/faces/fallback.py`), with a warning. FYE_LANDMARKER=fallback asks for that one right away.
    Raises AssetError for a file with a wrong sha256, or with the list of what was tried.
    """
    wanted = os.environ.get("FYE_LANDMARKER", "")
    if wanted not in ("", "fallback"):
        raise AssetError(f"FYE_LANDMARKER={wanted!r} is not known: leave it unset, or set it to 'fallback'")
    if wanted == "fallback":
        return _fallback(["FYE_LANDMARKER=fallback: nothing else was tried"])

    tried = []
    for place, path in places(LANDMARKER_FILE, folder):
        if path.is_file():
            return _checked(path, place)
        tried.append(f"{place}: no file {path}")
    path = cache_folder() / LANDMARKER_FILE
    try:
        download(LANDMARKER_URL, path, LANDMARKER_SHA256)
    except (OSError, http.client.HTTPException) as error:
        tried.append(f"download of {LANDMARKER_URL}: {getattr(error, 'reason', None) or error}")
    else:
        return _checked(path, "download")
    return _fallback(tried)


def _checked(path: Path, source: str) -> LandmarkerAsset:
    found = file_digest(path)
    if found != LANDMARKER_SHA256:
        raise AssetError(
            f"{path} ({source}) is not the expected landmark model: sha256 {found}, expected {LANDMARKER_SHA256}. "
            f"Delete it and fetch it again from {LANDMARKER_URL}"
        )
    return LandmarkerAsset(path, LANDMARKER_ID, found, has_matrix=True, source=source)


def _fallback(tried: list[str]) -> LandmarkerAsset:
    """The attention mesh, from the cache or built now."""
    path = cache_folder() / FALLBACK_FILE
    if not fallback_model.is_fallback(path):
        try:
            fallback_model.build_fallback(path)
        except (RuntimeError, ValueError, OSError) as error:
            raise AssetError(
                "No landmark model could be found or fetched. Tried:\n"
                + "".join(f"  - {line}\n" for line in [*tried, f"package registry: {error}"])
                + f"Put {LANDMARKER_FILE} from {LANDMARKER_URL} into a folder and set FYE_ASSETS to it."
            ) from error
    log.warning(
        "NOT THE USUAL LANDMARK MODEL: the attention mesh of %s, without blendshapes and face geometry. "
        "Its points differ by 1.6%% of the interocular distance, so never mix its data with those of %s. To have the "
        "usual one, put it into a folder and set FYE_ASSETS to that. Tried: %s",
        *(fallback_model.WHEEL, LANDMARKER_FILE, "; ".join(tried) or "nothing, as FYE_LANDMARKER asks for this one"),
    )
    return LandmarkerAsset(
        path, fallback_model.MODEL_ID, file_digest(path), has_matrix=False, source="package registry"
    )


def download(url: str, path: Path, sha256: str, timeout_s: float = 20.0) -> None:
    """Fetches `url` to `path`, atomically and only with the expected sha256.

    `timeout_s` bounds the connection and every silence in it. Raises OSError where the address cannot be read,
    AssetError where what it gives has another sha256.
    """
    with whole_file(path) as temporary:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer, temporary.open("wb") as file:
            total = int(answer.headers.get("Content-Length") or 0)
            done = 0
            while block := answer.read(1 << 16):
                file.write(block)
                done += len(block)
                _show_progress(path.name, done, total)
        if total and done != total:
            raise OSError(f"the connection ended after {done} of {total} bytes")
        if (found := file_digest(temporary)) != sha256:
            raise AssetError(f"{url} gave a file with sha256 {found}, expected {sha256}: not kept")


def _show_progress(name: str, done: int, total: int) -> None:
    """One line that rewrites itself, on a terminal only."""
    if sys.stderr.isatty():
        size = f"{done / 1e6:.1f}" + (f" of {total / 1e6:.1f}" if total else "")
        print(f"\rdownloading {name}: {size} MB ", end="\n" if done == total else "", file=sys.stderr, flush=True)
