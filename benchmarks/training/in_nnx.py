"""Training with Flax's nnx, a step at a time.

The functional form is the fastest in its documentation: `nnx.split` once, a step under `jax.jit` that merges, and a
donated state. At 784-128-10 and 32 on two cores a step takes some 0.17 ms at best, with `nnx.cached_partial` 0.27 ms
and with `nnx.jit` on the objects 0.62 ms.
"""

# pyright: reportMissingImports=false

import functools
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.training.in_jax import stepwise
from benchmarks.training.task import LEARNING_RATE, Task, TrainingData
from benchmarks.training.trainer import Trainer, outcome


class Model(nnx.Module):
    """A network of linear layers with ReLU between them."""

    def __init__(self, sizes: tuple[int, ...], rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([nnx.Linear(n, k, rngs=rngs) for n, k in zip(sizes[:-1], sizes[1:], strict=True)])

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers[:-1]:
            x = nnx.relu(layer(x))
        return self.layers[-1](x)


def functional(task: Task) -> Trainer:
    model = Model(task.network.sizes, nnx.Rngs(0))
    for layer, (W, b) in zip(model.layers, task.state.params, strict=True):
        layer.kernel, layer.bias = nnx.Param(W.T), nnx.Param(b[:, 0])
    optimizer = nnx.Optimizer(model, optax.adam(LEARNING_RATE), wrt=nnx.Param)
    graph, first = nnx.split((model, optimizer))

    @functools.partial(jax.jit, donate_argnums=0)
    def train_step(state: Any, data: TrainingData, rows: jax.Array) -> tuple[Any, jax.Array]:
        model, optimizer = nnx.merge(graph, state)

        def cost(model: Model) -> jax.Array:
            logits = model(data.X[rows])
            return optax.softmax_cross_entropy_with_integer_labels(logits, data.Y[rows]).mean()

        c, grads = nnx.value_and_grad(cost)(model)
        optimizer.update(model, grads)
        return nnx.state((model, optimizer)), c

    def start() -> Any:
        return jax.tree.map(jnp.copy, first)

    def read(state: Any, costs: Any) -> Any:
        model, _ = nnx.merge(graph, state)
        layers = [(layer.kernel[...].T, layer.bias[...]) for layer in model.layers]  # pyright: ignore
        return outcome(costs, layers, task.state.params)

    return Trainer(start, stepwise(task, train_step), read, library=f"flax {flax.__version__}")
