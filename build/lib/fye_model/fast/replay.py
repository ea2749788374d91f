"""Launching a network's work once and repeating it: a CUDA graph of a call, filled with new inputs at every step.

One sampling step is a thousand kernels that Python launches one by one. Where it takes as long to launch them as the
GPU to run them, the GPU waits; a recorded call is launched as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten


class Replay:
    """Calls `function` with (nested lists and tuples of) tensors, numbers and None; its result is tensors, nested too.

    The first call of a kind (shapes, types, numbers) runs as it is: libraries start, kernels are compiled. The second
    is recorded, from then on the recording is repeated. One recording is kept, with the memory it works in; a call of
    another kind replaces it. On the CPU every call runs as it is. `modules` are those whose weights the function uses:
    once they have been moved, what was recorded no longer counts.
    """

    def __init__(self, function: Callable[..., Any], *modules: nn.Module) -> None:
        self.function = function
        self.modules = modules
        self.reset()

    def reset(self) -> None:
        """Forget the recording and free its memory."""
        self._kind: Any = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._sources: list[tuple[Tensor, int | None]] = []
        self._inputs: list[Tensor] = []
        self._result: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """The function's result for these arguments, in memory of its own."""
        leaves, structure = tree_flatten(arguments)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if not tensors or not all(tensor.is_cuda for tensor in tensors):
            return self.function(*arguments)
        places = [next(module.parameters()).data_ptr() for module in self.modules]
        kind = structure, places, [(x.shape, x.dtype, x.device) if isinstance(x, Tensor) else x for x in leaves]
        if kind != self._kind:
            self.reset()
            self._kind = kind
            return self.function(*arguments)
        if self._graph is None:
            self._record(leaves, structure)
        else:
            self._fill(tensors)
        assert self._graph is not None
        self._graph.replay()
        return tree_map(torch.clone, self._result)

    def _record(self, leaves: list[Any], structure: Any) -> None:
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        self._inputs = [tensor.clone() for tensor in tensors]
        self._sources = [(tensor, _version(tensor)) for tensor in tensors]
        inputs = iter(self._inputs)
        arguments = tree_unflatten([next(inputs) if isinstance(x, Tensor) else x for x in leaves], structure)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._result = self.function(*arguments)
        self._graph = graph

    def _fill(self, tensors: list[Tensor]) -> None:
        """Copy the inputs that are not those of the last call: a video's conditions are the same at every step."""
        for index, (tensor, (source, version)) in enumerate(zip(tensors, self._sources, strict=True)):
            now = _version(tensor)
            if tensor is not source or now is None or now != version:
                self._inputs[index].copy_(tensor)
                self._sources[index] = tensor, now


def _version(tensor: Tensor) -> int | None:
    """How often a tensor was written to; None where that is not counted."""
    return None if tensor.is_inference() else tensor._version
