"""The gradient by PyTorch, eager and compiled."""

# pyright: reportMissingImports=false

import functools
import time
from typing import Any

import numpy as np
import torch
from torch import nn

import manual_bp as bp
from benchmarks.program import Compiled, Problem, first_call
from benchmarks.torch_network import LIBRARY, functional_cost, on_host, prepare, rest, set_parameters, synchronize


class TorchProgram(Compiled):
    """A program whose call gives the cost and the gradients by parameter, W and b of each layer in turn."""

    def __call__(self) -> Any:
        result = super().__call__()
        synchronize()
        return result

    @functools.cached_property
    def preparation(self) -> dict[str, Any]:
        """The time of the first call, which compiles; that fails if there is no C++ compiler."""
        return first_call(self, LIBRARY, (RuntimeError,))[0]

    def rest(self) -> None:
        time.sleep(rest())

    def result(self) -> tuple[np.ndarray, tuple[bp.Layer, ...]]:
        cost, grads = self()
        arrays: list[Any] = [on_host(g) for g in grads]
        layers = zip(arrays[::2], (b[:, None] for b in arrays[1::2]), strict=True)
        return on_host(cost), tuple(bp.Layer(W, b) for W, b in layers)


def eager(problem: Problem) -> TorchProgram:
    """The gradient as PyTorch's tutorials write it."""
    model, *data = _prepared(problem)
    params, loss = list(model.parameters()), nn.CrossEntropyLoss()

    def gradient(X: torch.Tensor, Y: torch.Tensor) -> tuple[torch.Tensor, Any]:
        model.zero_grad(set_to_none=True)
        cost = loss(model(X), Y)
        cost.backward()
        return cost, [p.grad for p in params]

    return TorchProgram(gradient, tuple(data))


def compiled(problem: Problem) -> TorchProgram:
    """Cost and gradient as one graph of `torch.compile`."""
    model, *data = _prepared(problem)
    params, cost = tuple(p.detach() for p in model.parameters()), functional_cost(model)

    @torch.compile(fullgraph=True, dynamic=False)
    def gradient(params: tuple[torch.Tensor, ...], X: torch.Tensor, Y: torch.Tensor) -> tuple[torch.Tensor, Any]:
        grads, c = torch.func.grad_and_value(cost)(params, X, Y)
        return c, grads

    return TorchProgram(gradient, (params, *data))


def _prepared(problem: Problem) -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    prepared = prepare(problem.network.sizes, problem.X.T, problem.Y)
    set_parameters(prepared[0], problem.params)
    return prepared
