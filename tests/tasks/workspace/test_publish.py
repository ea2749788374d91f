"""What a run hands to people lies at fixed places, whatever became of these before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.workspace.publish import link_model


def test_a_work_folder_copied_with_its_links_followed_has_its_model_linked_again(tmp_path: Path) -> None:
    (tmp_path / "work" / "items" / "model").mkdir(parents=True)
    (tmp_path / "work" / "items" / "model" / "model_index.json").write_text("{}")
    link_model(tmp_path / "work" / "model", "items/model")
    shutil.copytree(tmp_path / "work", tmp_path / "copy", symlinks=False)
    model = tmp_path / "copy" / "model"
    assert not model.is_symlink()
    link_model(model, "items/model")
    assert model.is_symlink() and model.resolve() == tmp_path / "copy" / "items" / "model"
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"items", "model"}


def test_what_is_no_model_is_not_replaced_by_one(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="in the way of the link to the run's model, and no model: move it"):
        link_model(tmp_path / "model", "items/model")
    assert (tmp_path / "model" / "thesis.txt").exists()
