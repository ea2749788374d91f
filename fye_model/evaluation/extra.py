"""Packages that some metrics need and that come with `pip install '.[metrics]'`: whether they are there, and where.

They are looked up and not imported: what a package does when it is imported may need things that we do not.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from fye_model import asset_files

HOW = "pip install '.[metrics]'"
# Module -> the package that brings it.
PACKAGES = {
    "brisque": "brisque",
    "dlib": "dlib-bin",
    "face_recognition_models": "face-recognition-models",
    "onnx": "onnx",  # reads ArcFace's weights
}


def lacking(*modules: str) -> str | None:
    """Why metrics that need these modules cannot be computed; None where all are there."""
    absent = [PACKAGES[module] for module in modules if find_spec(module) is None]
    return f"needs {' and '.join(absent)}: {HOW}" if absent else None


@cache
def installed() -> tuple[str, ...]:
    """The extra's packages that are there, as `name version`: they change results, so they belong in keys."""
    return tuple(f"{package} {_version(package)}" for module, package in PACKAGES.items() if find_spec(module))


def package_file(module: str, path: str) -> Path:
    """A file that a package ships. Raises FileNotFoundError where package or file is missing."""
    found = asset_files.package_file(module, path)
    if found is None:
        raise FileNotFoundError(f"package {PACKAGES[module]} has no file {path}: install it anew with {HOW}")
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # the module is there under another package's name, as dlib built from source
        return "of another package"
