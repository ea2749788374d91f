"""Import of the released weights: three torch files in, a folder of networks and a report out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fye_model.config import NetworkConfig
from fye_model.files import file_digest, write_atomic
from fye_model.networks import Networks, component_arguments
from fye_model.networks.bundle import COMPONENTS
from fye_model.networks.weights import LoadReport, check_names, read_weights
from fye_model.release.names import FILES, PROMPT, convert

RELEASED = NetworkConfig(image_prompt="linear", motion_norm_num_groups=32)
REPORT = "import_report.json"


@dataclass(frozen=True)
class ImportReport:
    """What was read, where it went, what was left out and why, and which parameters the release does not have."""

    files: tuple[LoadReport, ...]
    sha256: Mapping[str, str]
    added: Mapping[str, tuple[str, ...]]  # by network: parameters that start so that they change no output

    def __str__(self) -> str:
        lines = [str(report) for report in self.files]
        for report in self.files:
            for reason in sorted(set(report.dropped.values())):
                keys = [key for key, why in report.dropped.items() if why == reason]
                lines.append(f"  left out of {report.source}: {len(keys)} ({keys[0]} …): {reason}")
        for network, names in self.added.items():
            lines.append(f"  new in {network}, without influence until trained: {len(names)} ({names[0]} …)")
        return "\n".join(lines)

    def as_json(self) -> str:
        """The report as JSON text."""
        files = [
            {
                "file": report.source,
                "sha256": self.sha256[report.source],
                "into": report.target,
                "tensors": report.tensors,
                "parameters": report.parameters,
                "left_out": dict(report.dropped),
            }
            for report in self.files
        ]
        added = {network: list(names) for network, names in self.added.items()}
        return json.dumps({"schema": 1, "files": files, "added": added}, indent=1) + "\n"


def import_release(source: Path, output: Path, config: NetworkConfig = RELEASED) -> ImportReport:
    """Convert `referencenet.pth`, `unet.pth` and `lmk_guider.pth` in `source` to a networks folder `output`.

    The files are read with weights_only=True, and every key must be used or be on the list of those left out. The
    networks compute what the released code computes. `config.image_prompt` is `linear`, or `linear_qformer`, which adds
    a Q-Former that starts as the identity; `config.covered_latents` adds input channels that start at zero. So the
    result is the same until it is trained further. Weights are stored in float32.

    ValueError for a missing, damaged or unfitting file, a configuration of another size, or an `output` with other
    content in it.
    """
    if config.image_prompt == "qformer":
        raise ValueError(
            "networks.image_prompt is qformer, but the released networks have a linear image prompt; "
            "choose linear, or linear_qformer to add a Q-Former that changes nothing until it is trained"
        )
    check_output(output)
    paths = {file: _find(source, file) for file in FILES}

    states: dict[str, dict[str, Tensor]] = {}
    prompt: dict[str, Tensor] = {}
    reports = []
    for file, path in paths.items():
        released = read_weights(path)
        converted = convert(file, released)
        if file in PROMPT and f"{PROMPT[file]}.weight" not in converted.prompt:
            raise ValueError(f"{path} has no clip_fc.weight; it is not the released {file}")
        states[FILES[file]] = converted.network
        prompt |= converted.prompt
        kept = [*converted.network.values(), *converted.prompt.values()]
        target = FILES[file] + (" and image_prompt" if converted.prompt else "")
        reports.append(
            LoadReport(path.name, target, len(kept), sum(value.numel() for value in kept), converted.dropped)
        )
    states["image_prompt"] = prompt
    sources = {target: str(paths[file]) for file, target in FILES.items()} | {"image_prompt": "clip_fc of both UNets"}

    arguments = component_arguments(config, prompt["appearance.weight"].shape[-1])
    loaded: dict[str, nn.Module] = {}
    added: dict[str, tuple[str, ...]] = {}
    for name, kind in COMPONENTS.items():
        with torch.device("meta"):
            model = kind(**arguments[name])
        state = {key: value.float() for key, value in states.pop(name).items()}
        extra = _neutral_start(name, arguments[name])
        check_names(state | extra, model.state_dict(), sources[name])
        model.load_state_dict(state | extra, strict=True, assign=True)
        loaded[name] = model
        if extra:
            added[name] = tuple(extra)

    report = ImportReport(tuple(reports), {path.name: file_digest(path) for path in paths.values()}, added)
    Networks(**loaded).save(output)  # type: ignore[arg-type]  # one of each kind, by name
    write_atomic(output / REPORT, report.as_json().encode())
    return report


def check_output(output: Path) -> None:
    """ValueError for an `output` with other content than an earlier import in it."""
    if output.exists() and (not output.is_dir() or (any(output.iterdir()) and not (output / REPORT).is_file())):
        raise ValueError(f"{output} exists and is not an earlier import; give a new or empty folder as output")


def _neutral_start(name: str, arguments: dict) -> dict[str, Tensor]:
    """Initial values of the parameters that the release does not have."""
    if name == "denoiser" and arguments["covered_latents"]:
        width = arguments["block_out_channels"][0]
        return {"conv_given.weight": torch.zeros(width, arguments["in_channels"] + 1, 3, 3)}
    if name == "image_prompt" and arguments["kind"] != "linear":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            start = COMPONENTS[name](**arguments).state_dict()
        return {key: value for key, value in start.items() if key.partition(".")[0] not in PROMPT.values()}
    return {}


def _find(source: Path, file: str) -> Path:
    for suffix in (".pth", ".safetensors"):
        if (source / (file + suffix)).is_file():
            return source / (file + suffix)
    there = ", ".join(sorted(p.name for p in source.iterdir())[:10]) if source.is_dir() else "no such folder"
    raise ValueError(
        f"{source} has no {file}.pth; expected the folder of the released {', '.join(f + '.pth' for f in FILES)} "
        f"(found: {there or 'nothing'})"
    )
