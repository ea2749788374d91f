"""When, where and by what a page was made: told on it, and in no key, as it changes nothing but the telling."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fye_model.config import Config
from fye_model.devices import choose_device
from fye_model.processes import usable_cpus
from fye_model.version import source_commit, this_software

_PACKAGES = ("torch", "diffusers", "transformers", "mediapipe", "av", "numpy", "scikit-image", "prefect", "ray")


class Made(Config):
    """when: UTC, ISO 8601. commit: of the source tree, or why there is none. packages: with their versions."""

    when: str
    software: str
    commit: str
    packages: str
    machine: str
    device: str

    def lines(self) -> list[tuple[str, str]]:
        """Names and texts for a page."""
        return [
            ("page made", self.when),
            ("software", self.software),
            ("commit", self.commit),
            ("packages", self.packages),
            ("machine", self.machine),
            ("device", self.device),
        ]


def made_here() -> Made:
    """Of this process, now; SOURCE_DATE_EPOCH, as reproducible builds have it, stands for the time where it is set."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    when = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return Made(
        when=when.isoformat(timespec="seconds"),
        software=this_software(),
        commit=source_commit() or "not known: this is no git checkout",
        packages=", ".join([f"Python {platform.python_version()}", *map(_with_version, _PACKAGES)]),
        machine=f"{platform.system()} {platform.release()}, {_processor()}, {usable_cpus()} CPUs",
        device=str(choose_device()),
    )


def _with_version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} not installed"


def _processor() -> str:
    """The processor's name, as Linux tells it; elsewhere what Python knows."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
