"""Which frames of a bench's videos are scored, and at which size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from fye_model.config import EvaluationConfig
from fye_model.evaluation.weights import weights_here

ProtocolName = Literal["paper", "moving", "whole"]
# The frames after the reference: the first 64, the 64 in which most moves, or all of them; at 256 x 256 pixels.
PROTOCOLS: dict[ProtocolName, EvaluationConfig] = {
    "paper": EvaluationConfig(frames=64, size=256, window="start"),
    "moving": EvaluationConfig(frames=64, size=256, window="moving"),
    "whole": EvaluationConfig(frames=100_000, size=256, window="start"),
}
_FRAMES: dict[ProtocolName, str] = {
    "paper": "the first 64 after the reference",
    "moving": "the 64 after the reference in which most moves in the driver",
    "whole": "all after the reference",
}


def terms(protocol: ProtocolName, landmark_model: str, more: Mapping[str, str] | None = None) -> dict[str, str | int]:
    """What a bench's numbers have to be read with."""
    return {
        "scored frames": f"{protocol}: {_FRAMES[protocol]}",
        "size": PROTOCOLS[protocol].size,
        "crop": "none; bench and results are square",
        "landmark model": landmark_model,
        "metric weights": ", ".join(weights_here()) or "none",
        **(more or {}),
    }
