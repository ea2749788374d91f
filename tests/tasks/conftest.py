"""Fixtures that several stages' tests share."""

from tests.tasks.held_out import held_out_data, tiny_models

__all__ = ["held_out_data", "tiny_models"]
