"""Fixtures that several stages' tests share."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path

import pytest

from tests.tasks.held_out import held_out_data, tiny_models
from tests.tasks.performing import driver, model, perform, portrait

__all__ = ["driver", "held_out_data", "model", "perform", "portrait", "tiny_models"]


@pytest.fixture
def memory_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store's address in memory that is of this test alone, whose scratch goes where pytest clears up.

    A store that is no folder keeps its scratch under the system's temporary folder, by its address, so that a killed
    run can go on: under a fixed name, a killed test's scratch would be found by the next one.
    """
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return f"memory://{uuid.uuid4().hex}"
