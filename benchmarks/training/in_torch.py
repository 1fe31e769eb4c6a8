"""Training with PyTorch, a step at a time.

Both forms read a batch by `index_select` and take the mean in `nn.CrossEntropyLoss`. The fused kernel of Adam is the
fastest of the three that PyTorch has on a CPU. It adds eps to sqrt(v / (1 - beta_2^t)), as optax does.
"""

# pyright: reportMissingImports=false

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.torch_network import (
    LIBRARY,
    functional_cost,
    on_device,
    on_host,
    prepare,
    rest,
    set_parameters,
    synchronize,
)
from benchmarks.training.task import LEARNING_RATE, Task
from benchmarks.training.trainer import Outcome, Trainer, outcome

BETA_1, BETA_2, EPS = 0.9, 0.999, 1e-8


def eager(task: Task) -> Trainer:
    """Train as PyTorch's tutorials do."""
    model, X, Y = prepare(task.network.sizes, *task.data)
    batches_of, loss = _batches(task), nn.CrossEntropyLoss()

    def start() -> torch.optim.Adam:
        set_parameters(model, task.state.params)
        return torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)

    def epoch(optimizer: torch.optim.Adam, e: int) -> tuple[torch.optim.Adam, list[torch.Tensor]]:
        costs = []
        for rows in batches_of(e):
            optimizer.zero_grad(set_to_none=True)
            cost = loss(model(X.index_select(0, rows)), Y.index_select(0, rows))
            cost.backward()
            optimizer.step()
            costs.append(cost.detach())
        synchronize()
        return optimizer, costs

    def read(optimizer: torch.optim.Adam, costs: Any) -> Outcome:
        return _read(list(model.parameters()), costs, task)

    return Trainer(start, epoch, read, _accuracy(model, task), library=LIBRARY, rest=rest())


def graph(task: Task) -> Trainer:
    """Train with the whole step recorded as a CUDA graph, which is replayed for each batch."""
    model, X, Y = prepare(task.network.sizes, *task.data)
    batches_of, loss = _batches(task), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True, capturable=True)
    rows = batches_of(0)[0].clone()  # the place from which the graph reads a batch

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        cost = loss(model(X.index_select(0, rows)), Y.index_select(0, rows))
        cost.backward()
        optimizer.step()
        return cost.detach()

    def start() -> None:
        set_parameters(model, task.state.params)
        for x in [x for of_parameter in optimizer.state.values() for x in of_parameter.values()]:
            x.zero_()

    @functools.cache
    def recorded() -> tuple[Callable[[], Any], torch.Tensor]:
        replay, cost = record(step)
        start()  # as before the steps that recording takes
        return replay, cost

    def epoch(state: None, e: int) -> tuple[None, list[torch.Tensor]]:
        (replay, cost), costs = recorded(), []
        for batch in batches_of(e):
            rows.copy_(batch)
            replay()
            costs.append(cost.clone())
        synchronize()
        return state, costs

    def read(state: None, costs: Any) -> Outcome:
        return _read(list(model.parameters()), costs, task)

    return Trainer(start, epoch, read, library=LIBRARY, rest=rest(), may_fail=(RuntimeError,))


def record(step: Callable[[], torch.Tensor]) -> tuple[Callable[[], Any], torch.Tensor]:
    """Record a step: the function that replays it, and the place to which it writes its cost."""
    side = torch.cuda.Stream()  # a few steps first, on a stream of their own, as PyTorch asks for
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        cost = step()
    return graph.replay, cost


def compiled(task: Task) -> Trainer:
    """Train with the whole step as one graph of `torch.compile`.

    `Tensor.backward` and the optimizer's `step` would break the graph. So gradients are those of `torch.func`, and Adam
    is written out: at 5x64 and 32 a step is twice as fast as eager. A compiled model with a fused Adam is no faster
    than eager.
    """
    model, X, Y = prepare(task.network.sizes, *task.data)
    batches_of, cost = _batches(task), functional_cost(model)
    params = [p.detach() for p in model.parameters()]
    first, second = [torch.zeros_like(p) for p in params], [torch.zeros_like(p) for p in params]
    t = torch.zeros((), dtype=X.dtype, device=X.device)

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
        set_parameters(model, task.state.params)  # which the step uses as `params`
        for x in (*first, *second, t):
            x.zero_()

    def epoch(state: None, e: int) -> tuple[None, list[torch.Tensor]]:
        costs = [step(X, Y, rows) for rows in batches_of(e)]
        synchronize()
        return state, costs

    def read(state: None, costs: Any) -> Outcome:
        return _read(params, costs, task)

    # a RuntimeError, for example, if there is no C++ compiler
    return Trainer(start, epoch, read, library=LIBRARY, rest=rest(), may_fail=(RuntimeError,))


def _batches(task: Task) -> Callable[[int], list[torch.Tensor]]:
    @functools.cache
    def of_epoch(epoch: int) -> list[torch.Tensor]:
        return list(on_device(task.rows(epoch), torch.int64))

    of_epoch(0)
    return of_epoch


def _read(params: list[Any], costs: list[torch.Tensor], task: Task) -> Outcome:
    arrays = [on_host(p) for p in params]
    return outcome(on_host(torch.stack(costs)), zip(arrays[::2], arrays[1::2], strict=True), task.state.params)


def _accuracy(model: nn.Sequential, task: Task) -> Callable[[Any], float] | None:
    if task.held_out is None:
        return None
    X, Y = map(on_device, task.held_out)

    def accuracy(state: Any) -> float:
        with torch.inference_mode():
            return (model(X).argmax(1) == Y).float().mean().item()

    return accuracy
