"""What scores of lips and sound need: the published network's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from fye_model.assets import SYNCNET_SHA256
from fye_model.settings import Config


class LipSyncConfig(Config):
    """SyncNet's scores of every clip with sound, for screening to judge by; off without weights."""

    weights: Path | None = None  # syncnet_v2.model; `fye assets` says from where
    # of the weights; another where they are your own, of the same network
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] = SYNCNET_SHA256

    def check(self, *thresholds: float | None) -> None:
        """Raise ValueError where screening has thresholds for scores that nothing measures."""
        if self.weights is None and any(limit is not None for limit in thresholds):
            raise ValueError(
                "screening.max_sync_offset_s and min_sync_confidence judge scores that nothing measures: set "
                "lip_sync.weights to syncnet_v2.model (`fye assets` says from where), or leave the thresholds out"
            )
