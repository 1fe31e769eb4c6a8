"""Training with PyTorch, a step at a time, on all cores.

Both read a batch by `index_select` and leave the mean to `nn.CrossEntropyLoss`. Adam as a fused kernel is the fastest
of the three that PyTorch has on a CPU. Its eps stands beside sqrt(v / (1 - beta_2^t)), as in optax.
"""

# pyright: reportMissingImports=false

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.environment import cores
from benchmarks.training.task import LEARNING_RATE, Task
from benchmarks.training.trainer import Outcome, Trainer, outcome

BETA_1, BETA_2, EPS = 0.9, 0.999, 1e-8
REST = 0.02


def eager(task: Task) -> Trainer:
    """As PyTorch's tutorials have it."""
    model, X, Y, batches_of = _prepared(task)
    loss = nn.CrossEntropyLoss()

    def start() -> torch.optim.Adam:
        _restart(model, task)
        return torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)

    def epoch(optimizer: torch.optim.Adam, e: int) -> tuple[torch.optim.Adam, list[torch.Tensor]]:
        costs = []
        for rows in batches_of(e):
            optimizer.zero_grad(set_to_none=True)
            cost = loss(model(X.index_select(0, rows)), Y.index_select(0, rows))
            cost.backward()
            optimizer.step()
            costs.append(cost.detach())
        return optimizer, costs

    def read(optimizer: torch.optim.Adam, costs: Any) -> Outcome:
        return _read(list(model.parameters()), costs, task)

    return Trainer(start, epoch, read, _accuracy(model, task), library=_library(), rest=REST)


def compiled(task: Task) -> Trainer:
    """The whole step as one graph of `torch.compile`.

    `Tensor.backward` and the optimizer's `step` break the graph, so that gradients are those of `torch.func` and Adam
    is written out, which makes a step at 5x64 and 32 twice as fast as eager, and a compiled model with a fused Adam is
    not faster than eager.
    """
    # what is compiled here has few guards
    warnings.filterwarnings("ignore", "Guards may run slower on Python", RuntimeWarning)
    model, X, Y, batches_of = _prepared(task)
    loss = nn.CrossEntropyLoss()
    names = [name for name, _ in model.named_parameters()]
    params = [p.detach() for p in model.parameters()]
    first, second = [torch.zeros_like(p) for p in params], [torch.zeros_like(p) for p in params]
    t = torch.zeros((), dtype=X.dtype)

    def cost(params: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss(torch.func.functional_call(model, dict(zip(names, params, strict=True)), (x,)), y)

    @torch.compile(fullgraph=True, dynamic=False)
    def step(X: torch.Tensor, Y: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        grads, c = torch.func.grad_and_value(cost)(params, X.index_select(0, rows), Y.index_select(0, rows))
        t.add_(1)
        unbias_1, unbias_2 = 1 - BETA_1**t, 1 - BETA_2**t
        for p, g, m, v in zip(params, grads, first, second, strict=True):
            m.lerp_(g, 1 - BETA_1)
            v.mul_(BETA_2).addcmul_(g, g, value=1 - BETA_2)
            p.sub_(LEARNING_RATE * (m / unbias_1) / ((v / unbias_2).sqrt() + EPS))
        return c

    def start() -> None:
        _restart(model, task)  # whose parameters are those of the step
        for x in (*first, *second, t):
            x.zero_()

    def epoch(state: None, e: int) -> tuple[None, list[torch.Tensor]]:
        return state, [step(X, Y, rows) for rows in batches_of(e)]

    def read(state: None, costs: Any) -> Outcome:
        return _read(params, costs, task)

    # such as no C++ compiler
    return Trainer(start, epoch, read, library=_library(), rest=REST, may_fail=(RuntimeError,))


def _prepared(task: Task) -> tuple[nn.Sequential, torch.Tensor, torch.Tensor, Callable[[int], list[torch.Tensor]]]:
    torch.set_num_threads(cores())
    # else a step of one cell would be compiled for any batch size in the next
    torch.compiler.reset()
    sizes = task.network.sizes
    layers = [layer for n, k in zip(sizes[:-1], sizes[1:], strict=True) for layer in (nn.Linear(n, k), nn.ReLU())]
    X, Y = torch.tensor(np.asarray(task.data.X)), torch.tensor(np.asarray(task.data.Y), dtype=torch.int64)

    @functools.cache
    def batches_of(epoch: int) -> list[torch.Tensor]:
        return list(torch.tensor(task.rows(epoch), dtype=torch.int64))

    batches_of(0)
    return nn.Sequential(*layers[:-1]).to(X.dtype), X, Y, batches_of


def _restart(model: nn.Sequential, task: Task) -> None:
    with torch.no_grad():
        for p, x in zip(model.parameters(), [x for layer in task.state.params for x in layer], strict=True):
            p.copy_(torch.tensor(np.asarray(x).reshape(p.shape)))


def _read(params: list[Any], costs: list[torch.Tensor], task: Task) -> Outcome:
    arrays = [p.detach().numpy() for p in params]
    return outcome(torch.stack(costs).numpy(), zip(arrays[::2], arrays[1::2], strict=True), task.state.params)


def _accuracy(model: nn.Sequential, task: Task) -> Callable[[Any], float] | None:
    if task.held_out is None:
        return None
    X, Y = (torch.tensor(np.asarray(x)) for x in task.held_out)

    def accuracy(state: Any) -> float:
        with torch.inference_mode():
            return (model(X).argmax(1) == Y).float().mean().item()

    return accuracy


def _library() -> str:
    return f"torch {torch.__version__}"
