"""The gradient by PyTorch, eager and compiled, on all cores: examples in rows, as PyTorch has them."""

# pyright: reportMissingImports=false

import dataclasses
import functools
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

import manual_bp as bp
from benchmarks.environment import cores
from benchmarks.problem import Problem

REST = 0.02  # seconds in which its threads still keep a core busy, waiting for more to do


@dataclasses.dataclass(eq=False)
class TorchProgram:
    """A call gives (cost, gradients by parameter), W and b of each layer in turn."""

    step: Callable[[], tuple[torch.Tensor, Any]]

    @functools.cached_property
    def preparation(self) -> dict[str, Any]:
        """The first call, which compiles what there is to compile; that fails where there is no C++ compiler."""
        library, start = {"library": f"torch {torch.__version__}"}, time.perf_counter()
        try:
            self()
        except RuntimeError as error:
            return library | {"not_run": f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"}
        return library | {"first_s": round(time.perf_counter() - start, 6)}

    def ready(self) -> None:
        """There is nothing to make ready."""

    def __call__(self) -> Any:
        return self.step()

    def rest(self) -> None:
        time.sleep(REST)

    def result(self) -> tuple[np.ndarray, tuple[bp.Layer, ...]]:
        cost, grads = self()
        arrays = [np.asarray(g.detach()) for g in grads]
        layers = zip(arrays[::2], (b[:, None] for b in arrays[1::2]), strict=True)
        return np.asarray(cost.detach()), tuple(bp.Layer(W, b) for W, b in layers)  # type: ignore[arg-type]


def eager(problem: Problem) -> TorchProgram:
    """As PyTorch's tutorials have it."""
    model, X, Y = _prepared(problem)
    params, loss = list(model.parameters()), nn.CrossEntropyLoss()

    def step() -> tuple[torch.Tensor, Any]:
        model.zero_grad(set_to_none=True)
        cost = loss(model(X), Y)
        cost.backward()
        return cost, [p.grad for p in params]

    return TorchProgram(step)


def compiled(problem: Problem) -> TorchProgram:
    """Cost and gradient as one graph of `torch.compile`, by `torch.func`: `Tensor.backward` would break the graph."""
    # what is compiled here has few guards
    warnings.filterwarnings("ignore", "Guards may run slower on Python", RuntimeWarning)
    model, X, Y = _prepared(problem)
    loss = nn.CrossEntropyLoss()
    names, params = zip(*((name, p.detach()) for name, p in model.named_parameters()), strict=True)

    def cost(params: tuple[torch.Tensor, ...], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss(torch.func.functional_call(model, dict(zip(names, params, strict=True)), (x,)), y)

    @torch.compile(fullgraph=True, dynamic=False)
    def gradient(params: tuple[torch.Tensor, ...], X: torch.Tensor, Y: torch.Tensor) -> tuple[torch.Tensor, Any]:
        grads, c = torch.func.grad_and_value(cost)(params, X, Y)
        return c, grads

    return TorchProgram(lambda: gradient(params, X, Y))


def _prepared(problem: Problem) -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    """The network with the problem's parameters, and its examples in rows."""
    torch.set_num_threads(cores())
    torch.compiler.reset()  # else what one cell compiles would be compiled for any batch size in the next
    layers = []
    for W, b in problem.params:
        linear = nn.Linear(W.shape[1], W.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(np.asarray(W)))
            linear.bias.copy_(torch.tensor(np.asarray(b)[:, 0]))
        layers += [linear, nn.ReLU()]
    X = torch.tensor(np.ascontiguousarray(np.asarray(problem.X).T))
    return nn.Sequential(*layers[:-1]), X, torch.tensor(np.asarray(problem.Y), dtype=torch.int64)
