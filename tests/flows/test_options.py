"""What a command line makes of `--set`: the recipe's settings and the runtime's, apart."""

from __future__ import annotations

import pytest

from flows.options import runtime_and_recipe


def test_settings_of_the_runtime_are_taken_from_set_and_the_others_left() -> None:
    runtime, rest = runtime_and_recipe(["train.stage1.steps=2", "runtime.loader_workers=3"], workers=4, device="cpu")
    assert (runtime.loader_workers, runtime.workers, runtime.device) == (3, 4, "cpu")
    assert rest == ["train.stage1.steps=2"]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("runtime.loader_worker=3", "loader_worker: unknown key .*did you mean 'loader_workers'"),
        ("runtime.loader_workers=-1", "loader_workers: .*greater than or equal to 0"),
        ("runtime.workers=1", "give --workers instead"),
        ("runtime.loader_workers", "expected KEY.PATH=VALUE"),
    ],
)
def test_a_wrong_setting_of_the_runtime_is_named(setting: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        runtime_and_recipe([setting], workers=2)
