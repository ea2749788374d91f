"""A flow from videos to latents in which landmarks wait for a clip that is encoded; as a command, to be killed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from unittest.mock import patch

from prefect import flow

from flows import wiring
from fye_model.config import Runtime
from tasks.engine.items import StageResult
from tasks.workspace.run import open_run
from tasks.workspace.sources import Root, register_root
from tasks.workspace.steps import Steps, Stopped
from tests.tasks.ahead import WAITING_LANDMARKS


def encode(work: str, videos: str, autoencoder: str, ahead: bool) -> Sequence[StageResult[object]]:
    """Everything up to the latents by a given autoencoder, in one worker; the stages' results."""

    @flow(name="test-encoding")
    def test_flow() -> Sequence[StageResult[object]]:
        runtime = Runtime(workers=1, ahead=ahead, device="cpu")
        run = open_run(work, "debug", [f"autoencoder.path={autoencoder}"], runtime, Steps(until="latents"))
        register_root(run.store, Root(videos))
        with suppress(Stopped):
            wiring.train_model(run, wiring.prepare_data(run, training=run))
        return run.results

    with patch.object(wiring, "LANDMARKS", WAITING_LANDMARKS):
        return test_flow()


if __name__ == "__main__":
    encode(*sys.argv[1:], ahead=True)
