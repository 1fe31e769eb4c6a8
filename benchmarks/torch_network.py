"""The network in PyTorch, for the suites that time it: examples in rows, on all cores or on JAX's GPU."""

# pyright: reportMissingImports=false

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
import torch
from torch import nn

from benchmarks.environment import cores, is_tf32

LIBRARY = f"torch {torch.__version__}"


def prepare(sizes: Sequence[int], X: Any, Y: Any) -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    """A network, whose parameters are still to be set, and the examples as tensors, on the device."""
    torch.set_num_threads(cores())
    torch.set_float32_matmul_precision("high" if is_tf32("float32") else "highest")  # as JAX's: "high" is TF32
    torch.compiler.reset()  # otherwise the next cell would be compiled for any batch size
    layers = [layer for n, k in zip(sizes[:-1], sizes[1:], strict=True) for layer in (nn.Linear(n, k), nn.ReLU())]
    rows, classes = on_device(np.ascontiguousarray(np.asarray(X))), on_device(Y, torch.int64)
    return nn.Sequential(*layers[:-1]).to(rows.device, rows.dtype), rows, classes


def device() -> str:
    """The device of PyTorch that is the one JAX computes on."""
    return "cuda" if jax.default_backend() == "gpu" else "cpu"


def on_device(x: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
    """The values as a tensor on the device that JAX computes on."""
    return torch.tensor(np.asarray(x), dtype=dtype, device=device())


def on_host(x: torch.Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def synchronize() -> None:
    """Wait for the GPU: a call returns before its work is done."""
    if device() == "cuda":
        torch.cuda.synchronize()


def rest() -> float:
    """The seconds for which its threads keep a core busy after a call, waiting for more work."""
    return 0.02 if device() == "cpu" else 0.0


def set_parameters(model: nn.Sequential, params: Iterable[Any]) -> None:
    with torch.no_grad():
        for p, x in zip(model.parameters(), [x for layer in params for x in layer], strict=True):
            p.copy_(torch.tensor(np.asarray(x).reshape(p.shape)))


def functional_cost(model: nn.Sequential) -> Callable[[Sequence[torch.Tensor], torch.Tensor, torch.Tensor], Any]:
    """(params, X, Y) -> cost, for the gradients of `torch.func`: `Tensor.backward` would break a compiled graph."""
    # a warning about how a compiled function checks its arguments; here that takes no time
    warnings.filterwarnings("ignore", "Guards may run slower on Python", RuntimeWarning)
    names, loss = [name for name, _ in model.named_parameters()], nn.CrossEntropyLoss()

    def cost(params: Sequence[torch.Tensor], X: torch.Tensor, Y: torch.Tensor) -> torch.Tensor:
        return loss(torch.func.functional_call(model, dict(zip(names, params, strict=True)), (X,)), Y)

    return cost
