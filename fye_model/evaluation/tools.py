"""What metrics are made with on this machine, as a part of the settings of whatever measures."""

from __future__ import annotations

from pydantic import Field

from fye_model.config import Config
from fye_model.evaluation.extra import installed
from fye_model.evaluation.weights import weights_here


class MetricTools(Config):
    """Packages of `pip install '.[metrics]'` and weights of metrics that are there.

    They are in the keys of what is measured, so that it is measured anew once one is added. Raises ValueError, as
    `weights_here` does, for weights that are not what they should be.
    """

    metric_packages: tuple[str, ...] = Field(default_factory=installed)
    metric_weights: tuple[str, ...] = Field(default_factory=weights_here)
