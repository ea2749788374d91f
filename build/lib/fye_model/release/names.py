"""Which key of the released files goes where, by rule, and which are left out and why. [release]"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fye_model.networks.pretrained import convert_motion

FILES = {"referencenet": "appearance_net", "unet": "denoiser", "lmk_guider": "landmark_encoder"}
PROMPT = {"referencenet": "appearance", "unet": "denoiser"}  # each has the Linear in front of its cross-attention
NO_INFLUENCE = "up_blocks.3.attentions.2.proj_out."  # of referencenet: only the input of its attention is used


@dataclass
class Converted:
    """One released file under our names: the network's own part, the image prompt's part, and what is left out."""

    network: dict[str, Tensor] = field(default_factory=dict)
    prompt: dict[str, Tensor] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)


def convert(file: str, state: Mapping[str, Tensor]) -> Converted:
    """Rename the keys of one released file (`referencenet`, `unet` or `lmk_guider`).

    Every key lands in exactly one of the three parts of the result; nothing is guessed, so a key that the rules do
    not know keeps its name and is refused when the network is filled.
    """
    result = Converted()
    if file == "lmk_guider":
        result.network = {f"embedding.{key}": value for key, value in state.items()}
        return result
    rest = {}
    for key, value in state.items():
        if key.startswith("clip_fc."):
            result.prompt[key.replace("clip_fc", PROMPT[file])] = value
        elif file == "referencenet" and key.startswith(NO_INFLUENCE):
            result.dropped[key] = "behind the last reference feature, so it influences nothing"
        else:
            rest[key] = value
    if file == "unet":
        rest, result.dropped = convert_motion(rest)
    result.network = {f"unet.{key}": value for key, value in rest.items()}
    return result
