"""The released networks at a small size with random weights, and what the released code computes on them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from fye_model.config import NetworkConfig
from fye_model.networks import Networks
from fye_model.release import import_release

SMALL = NetworkConfig(
    block_out_channels=(32, 64, 64, 64),
    attention_heads=4,
    cross_attention_dim=48,
    norm_num_groups=8,
    motion_norm_num_groups=32,
    landmark_channels=(4, 8, 12, 16),
    image_prompt="linear",
    qformer_heads=4,
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def official(shared: Path) -> dict[str, Any]:
    """Inputs and outputs of the released code, read once."""
    path = shared / "parity" / "official_tiny.pt"
    if not path.is_file():
        pytest.skip(f"no {path.name} in the sample data")
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="session")
def released(official: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the authors publish it: three torch files."""
    folder = tmp_path_factory.mktemp("released")
    for name, state in official["state_dicts"].items():
        torch.save(state, folder / f"{name}.pth")
    return folder


@pytest.fixture(scope="session")
def small_config() -> NetworkConfig:
    """The configuration of the small released networks."""
    return SMALL


@pytest.fixture(scope="session")
def imported(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The networks folder that the import makes of them."""
    output = tmp_path_factory.mktemp("imported")
    import_release(released, output, SMALL)
    return output


class Case:
    """Runs our networks on the stored inputs, in one precision, the way the released code was run."""

    def __init__(self, networks: Networks, inputs: dict[str, Any], dtype: torch.dtype) -> None:
        self.networks = networks.to(dtype)
        floats = {k: v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in inputs.items()}
        self.inputs = SimpleNamespace(**floats)
        self.noisy, self.tokens = self.inputs.latents[:1], self.inputs.clip_hidden[:1]
        self.t = self.inputs.timestep
        with torch.no_grad():
            self.landmarks = networks.landmark_features(self.inputs.lmk_images)
            self.features = networks.reference_features(self.inputs.ref_latents[:1], self.tokens)

    @torch.no_grad()
    def denoise(self, **changes: Any) -> Tensor:
        """The plain conditional run (`no_cfg`) with some arguments changed."""
        arguments = {
            "noisy": self.noisy,
            "t": self.t,
            "landmark_features": self.landmarks[:1],
            "reference": self.features,
            "image_tokens": self.tokens,
        }
        return self.networks.denoise(**(arguments | changes))

    def guided(self, noisy: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Both halves (2, …), and their combination at the stored guidance scale."""
        halves = self.denoise(
            noisy=noisy.repeat(2, 1, 1, 1, 1),
            t=t,
            landmark_features=self.landmarks[:1].repeat(2, 1, 1, 1, 1),
            unconditional=[True, False],
        )
        unconditional, conditional = halves.chunk(2)
        return halves, unconditional + self.inputs.guidance_scale * (conditional - unconditional)

    @torch.no_grad()
    def outputs(self) -> dict[str, Tensor]:
        """Every output that the released code was asked for in all precisions."""
        inputs, networks = self.inputs, self.networks
        halves, guided = self.guided(self.noisy, self.t)
        odd_features = networks.reference_features(inputs.odd_ref_latents, self.tokens)
        odd_landmarks = networks.landmark_features(inputs.odd_lmk_images)
        return {
            "lmk_features": self.landmarks,
            "no_cfg": self.denoise(),
            "cfg_uncond_cond": halves,
            "cfg_guided": guided,
            "batch2": networks.denoise(
                inputs.latents,
                inputs.timestep_batch,
                self.landmarks,
                networks.reference_features(inputs.ref_latents, inputs.clip_hidden),
                inputs.clip_hidden,
            ),
            "no_reference": self.denoise(reference=None),
            "no_lmk": self.denoise(landmark_features=None),
            "odd_size": self.denoise(noisy=inputs.odd_latents, landmark_features=odd_landmarks, reference=odd_features),
        }


@pytest.fixture
def case(imported: Path, official: dict[str, Any]) -> Case:
    """In float32."""
    return Case(Networks.load(imported), official["inputs"], torch.float32)


@pytest.fixture
def case64(imported: Path, official: dict[str, Any]) -> Case:
    """In float64."""
    return Case(Networks.load(imported), official["inputs"], torch.float64)


@pytest.fixture
def make_case(official: dict[str, Any]) -> Any:
    """Wraps other networks in a float32 case."""
    return lambda networks: Case(networks, official["inputs"], torch.float32)
