"""Weights out of an ONNX file: the steps of its graph that have some, in order. Nothing of the file is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Steps with weights -> how many tensors each has.
_WEIGHTED = {"Conv": 2, "PRelu": 1, "BatchNormalization": 4, "Gemm": 2}
_WITHOUT = ("Add", "Flatten", "Identity", "Dropout", "Constant", "Reshape", "Shape", "Unsqueeze", "Concat", "Gather")


@dataclass(frozen=True)
class Step:
    """A step of the graph: its ONNX operation, and its tensors in the operation's order."""

    kind: str
    tensors: tuple[np.ndarray, ...]


def is_onnx(path: Path) -> bool:
    """Whether a file calls itself one."""
    return path.suffix == ".onnx"


def read_steps(path: Path) -> list[Step]:
    """The steps with weights of a graph of convolutions, in its order.

    Raises ValueError for a file that cannot be read, weights that lie outside it, an operation that is not known here,
    and a step without the tensors that it should have; ModuleNotFoundError without the package `onnx`.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except (OSError, DecodeError) as error:
        raise ValueError(f"{path} cannot be read as ONNX ({error}); fetch it again") from error
    values = {}
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ValueError(f"{path} keeps its weights in another file; expected one file that holds them all")
        values[tensor.name] = onnx.numpy_helper.to_array(tensor)
    steps = []
    for place, node in enumerate(graph.node):
        if node.op_type in _WITHOUT:
            continue
        tensors = tuple(values[name] for name in node.input if name in values)
        if len(tensors) != _WEIGHTED.get(node.op_type):
            raise ValueError(
                f"{path}: step {place} ({node.op_type}) has {len(tensors)} tensors; expected a network of "
                f"{', '.join(f'{kind} ({count})' for kind, count in _WEIGHTED.items())}"
            )
        steps.append(Step(node.op_type, tensors))
    return steps
