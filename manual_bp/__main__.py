"""`python -m manual_bp`: check and time the hand-written gradients on this machine.

Twelve networks are compared with `jax.grad`, and one is timed. The exit status is 1 if a gradient is wrong.
`python -m manual_bp check FILE.py` checks the functions of a file.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp import Layer, Network, Params, __version__, value_and_grad
from manual_bp.checker._check_file import check_file


class Case(NamedTuple):
    """A network with the number of examples it is tried on."""

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    cost: str
    m: int
    weighted: bool = False

    def __str__(self) -> str:
        sizes, names = "-".join(map(str, self.sizes)), ", ".join(dict.fromkeys(self.activations))
        return f"{sizes} {names}, {self.cost}{', weighted' * self.weighted}"


# Sizes and m are pairwise distinct within a network: a square matrix would hide a missing transpose
CASES = [
    Case((5, 1), ("sigmoid",), "cross_entropy", 33),
    Case((3, 4, 1), ("tanh", "sigmoid"), "cross_entropy", 1),
    Case((6, 5, 3), ("sigmoid", "sigmoid"), "cross_entropy", 11, weighted=True),
    Case((7, 13), ("softmax",), "cross_entropy", 9),
    Case((64, 32, 10), ("relu", "softmax"), "cross_entropy", 50),
    Case((784, 128, 10), ("tanh", "softmax"), "cross_entropy", 256, weighted=True),
    Case((6, 8, 4), ("tanh", "softmax"), "squared_error", 9),
    Case((9, 12, 7, 3), ("relu", "relu", "identity"), "squared_error", 20, weighted=True),
    Case((5, 8, 6, 2), ("tanh", "tanh", "identity"), "absolute_error", 13),
    Case((9, 20, 17, 14, 5), ("leaky_relu", "elu", "softplus", "softmax"), "cross_entropy", 10, weighted=True),
    Case((9, 20, 17, 14, 5), ("silu", "gelu", "identity", "softmax"), "cross_entropy", 10),
    Case((10, *range(11, 16), 4), ("tanh",) * 5 + ("softmax",), "cross_entropy", 24),
]
TIMED = Case((784, 128, 10), ("relu", "softmax"), "cross_entropy", 1)
BATCH_SIZES, DRAWS, ROUNDS = (32, 256, 2048), 8, 100


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and return the exit status: 1 if a gradient is wrong, 0 if all are right."""
    parser = argparse.ArgumentParser("python -m manual_bp", description="Check and time the gradients here.")
    about = "check the backward pass or the custom_vjp that a file defines"
    command = parser.add_subparsers().add_parser("check", help=about, description=about)
    command.add_argument(
        "file", type=Path, metavar="FILE.py", help="defines cost and backward, or rule or f; and inputs"
    )
    if "file" in (given := parser.parse_args(argv)):
        return check_file(given.file)
    machine = f"{jax.device_count()} x {jax.devices()[0].device_kind}, {os.cpu_count()} CPU cores"
    print(f"manual_bp {__version__}, jax {jax.__version__}, Python {platform.python_version()}; {machine}\n")
    print(f"{'relative error of the gradient':72} {'float64':>8} {'float32':>8} {'jax.grad':>8}")
    wrong = 0
    with ThreadPoolExecutor(2) as pool:  # most of the time is spent compiling, which releases Python's lock
        for case, (float64, float32, autodiff32, right) in zip(CASES, pool.map(check, CASES), strict=True):
            print(f"{case!s:72} {float64:8.1e} {float32:8.1e} {autodiff32:8.1e}  {'right' if right else 'WRONG'}")
            wrong += not right
    print(f"\n{f'milliseconds, {TIMED}':72} {'manual':>8} {'jax.grad':>8}  ratio")
    for m in BATCH_SIZES:
        manual, autodiff, ratio, low, high = measure(TIMED._replace(m=m))
        print(f"{f'{m:,} examples':>72} {manual:8.3f} {autodiff:8.3f}  {ratio:.2f} [{low:.2f}, {high:.2f}]")
    print(f"\n{wrong} of {len(CASES)} gradients are wrong")
    return min(wrong, 1)


def check(case: Case) -> tuple[float, float, float, bool]:
    """Return the largest error in float64, in float32 and of `jax.grad` in float32, and whether the first two pass.

    The bound is 1e-12 in float64. In float32 it is 1e-5 and twice the error of `jax.grad` in the leaf, or 4 eps.
    """
    worst = []
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        manual, autodiff = gradients(case)
        for draw in range(DRAWS):
            double, single = data(case, draw, np.float64), data(case, draw, np.float32)
            found, true = (manual(*double), manual(*single), autodiff(*single)), autodiff(*double)
            worst.append([errors(*result, true) for result in zip(("f8", "f4", "f4"), found, strict=True)])
    float64, float32, autodiff32 = np.max(worst, axis=0)
    bound = np.minimum(np.maximum(2 * autodiff32, 4 * np.finfo(np.float32).eps), 1e-5)
    right = (float64 <= 1e-12).all() and (float32 <= bound).all()
    return float64.max(), float32.max(), autodiff32.max(), bool(right)


def gradients(case: Case) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the hand-written gradient and that of autodiff, both of (params, X, Y, weights)."""

    def cost(params: Params, X: jax.Array, Y: jax.Array, weights: jax.Array | None) -> jax.Array:
        Z = A = X
        for name, (W, b) in zip(case.activations, params, strict=True):
            Z = W @ A + b
            A = jax.nn.softmax(Z, axis=0) if name == "softmax" else getattr(jax.nn, name)(Z)
        if case.cost != "cross_entropy":
            losses = jnp.sum((A - Y) ** 2 if case.cost == "squared_error" else jnp.abs(A - Y), axis=0)
        elif case.activations[-1] == "sigmoid":
            losses = jnp.sum(jax.nn.softplus(Z) - Y * Z, axis=0)
        else:
            losses = -jnp.take_along_axis(jax.nn.log_softmax(Z, axis=0), Y[None, :], axis=0)[0]
        return jnp.average(losses, weights=weights)

    network = Network(case.sizes, case.activations[:-1], case.activations[-1], case.cost)
    return value_and_grad(network), jax.jit(jax.value_and_grad(cost))


def data(case: Case, draw: int, dtype: Any) -> tuple[Params, Any, Any, Any]:
    """Draw params, X, Y and weights: the same values in both dtypes."""
    rng, sizes = np.random.default_rng(draw), case.sizes

    def cast(array: np.ndarray) -> Any:
        return jnp.asarray(np.asarray(array, np.float32), dtype)

    W = [rng.normal(0, np.sqrt(1 / k), (n, k)) for k, n in zip(sizes, sizes[1:], strict=False)]
    params = tuple(Layer(cast(W_l), cast(rng.normal(0, 0.1, (len(W_l), 1)))) for W_l in W)
    X, Y = rng.normal(size=(sizes[0], case.m)), rng.uniform(size=(sizes[-1], case.m))
    if case.cost == "cross_entropy":  # class indices, or mostly ones, so that sum(A - Y) does not cancel
        Y = np.argmax(Y, axis=0) if case.activations[-1] == "softmax" else cast(Y > 0.2)
    weights = cast(rng.uniform(0.5, 2, case.m)) if case.weighted else None
    return params, cast(X), jnp.asarray(Y, None if Y.ndim == 1 else dtype), weights


def errors(dtype: str, found: Any, true: Any) -> list[float]:
    """Return each leaf's relative error in norm; a leaf that should be zero is scaled by the norm of all leaves."""
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(true), strict=True))
    if any((f.shape, f.dtype) != (t.shape, dtype) for f, t in pairs):
        return [np.inf] * len(pairs)
    whole = np.linalg.norm([np.linalg.norm(t) for _, t in pairs])
    return [float(np.linalg.norm(np.asarray(f, float) - t) / (np.linalg.norm(t) or whole)) for f, t in pairs]


def measure(case: Case) -> tuple[float, ...]:
    """Return median milliseconds by hand and by autodiff, and the median of their ratios with its 95 % interval."""
    functions, arguments, ms = gradients(case), data(case, 0, np.float32), np.empty((ROUNDS, 2))
    for i in range(-2, ROUNDS):  # negative rounds warm up: the first compiles
        for j in (i % 2, 1 - i % 2):
            start = time.perf_counter()
            jax.block_until_ready(functions[j](*arguments))
            ms[i, j] = 1e3 * (time.perf_counter() - start)
    spread = ROUNDS**-0.5  # the median lies between these quantiles with 95 % confidence, by the binomial distribution
    quantiles = 0.5, max(0.5 - spread, 0), min(0.5 + spread, 1)
    return *np.median(ms, axis=0), *np.quantile(ms[:, 0] / ms[:, 1], quantiles)


if __name__ == "__main__":
    sys.exit(main())
