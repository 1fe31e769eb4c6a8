"""Compare manual_bp with autodiff over the grid, one line per case."""

import functools
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import manual_bp as bp
from reference import autodiff
from reference.compare import errors
from reference.grid import SEEDS, Data, Problem, draw

FLOAT64_BOUND = 1e-12
FLOAT32_BOUND = 1e-5
EPS = float(np.finfo(np.float32).eps)


class Case(NamedTuple):
    """One line of the table: the largest relative error of any leaf, in norm."""

    problem: Problem
    seed: int
    weighted: bool
    float64: float
    float32: float
    autodiff32: float
    passed: bool
    note: str

    def __str__(self) -> str:
        name, weights = f"{self.problem.name}, {self.problem.model.cost}", "yes" if self.weighted else "no"
        errors = f"{self.float64:9.1e} {self.float32:9.1e} {self.autodiff32:9.1e}"
        return f"{name:53s} {self.seed:4d}  {weights:8s} {errors}  {'ok' if self.passed else 'FAILED'}{self.note}"


HEADER = f"{'case':53s} {'seed':>4s}  {'weights':8s} {'float64':>9s} {'float32':>9s} {'autodiff':>9s}  verdict"


def cross_check(problem: Problem, seeds: Sequence[int] = SEEDS) -> Iterator[Case]:
    """Compare all seeds of a problem, with and without weights, in float64 and float32, compiled once per dtype.

    In float64 the error of a leaf may be 1e-12. In float32 it may be 1e-5, and the larger of 4 eps and twice autodiff's
    own error on that leaf in the worst of these draws, because autodiff can be exact on one by luck. A note marks the
    draws that no float32 program gets right. If a ReLU is within rounding of its kink, float32 is not judged. If a sum
    cancels so far that autodiff misses 1e-5, that bound is left out.
    """
    found = []
    for seed in seeds:
        data = draw(problem, seed)
        manual64, autodiff64 = _run(problem, data, jnp.float64)
        manual32, autodiff32 = _run(problem, data, jnp.float32)
        for key in ("mean", "weighted"):
            true = autodiff64[key]
            triple = errors(manual64[key], true), errors(manual32[key], true), errors(autodiff32[key], true)
            found.append((seed, key == "weighted", _units_at_a_kink(problem, data), *triple))
    own = {leaf: max(autodiff[leaf] for *_, autodiff in found if leaf in autodiff) for leaf in found[0][-1]}
    for seed, weighted, kinks, manual64, manual32, autodiff32 in found:
        largest64, largest32, own32 = (max(e.values()) for e in (manual64, manual32, autodiff32))
        bound = {leaf: max(2 * own[leaf], 4 * EPS) for leaf in autodiff32}
        passed = max(manual64.values()) <= FLOAT64_BOUND and (
            kinks > 0
            or all(
                np.isfinite(e) and e <= bound[leaf] and (e <= FLOAT32_BOUND or autodiff32[leaf] > FLOAT32_BOUND)
                for leaf, e in manual32.items()
            )
        )
        note = f" (units at a kink: {kinks})" if kinks else " (a sum cancels)" if own32 > FLOAT32_BOUND else ""
        yield Case(problem, seed, weighted, largest64, largest32, own32, passed, note)


def _run(problem: Problem, data: Data, dtype: Any) -> tuple[dict, dict]:
    """Compute costs, gradients and intermediates by hand and by autodiff, in one program."""
    params = tuple(bp.Layer(jnp.asarray(W, dtype), jnp.asarray(b, dtype)) for W, b in data.params)
    Y = jnp.asarray(data.Y, jnp.int32 if problem.targets == "indices" else dtype)
    return _program(problem)(params, jnp.asarray(data.X, dtype), Y, jnp.asarray(data.weights, dtype))


@functools.cache
def _program(problem: Problem) -> Any:
    model = problem.model
    network = bp.Network(*model)

    def gradients(cost: Any, *args: Any) -> dict:
        c, (dparams, dX) = jax.value_and_grad(cost, argnums=(1, 2))(*args)
        return {"cost": c, "dparams": dparams, "dX": dX}

    @jax.jit
    def program(params: Any, X: Any, Y: Any, weights: Any) -> tuple[dict, dict]:
        def both(cost: Any, net: Any, dA: list, dZ: list) -> dict:
            mean = gradients(cost, net, params, X, Y) | {"dA": dA, "dZ": dZ}
            return {"mean": mean, "weighted": gradients(cost, net, params, X, Y, weights)}

        record = bp.backpropagate(network, params, X, Y)
        by_hand = both(bp.cost, network, record.dA, record.dZ[1:])
        return by_hand, both(autodiff.cost, model, *autodiff.intermediates(model, params, X, Y))

    return program


def _units_at_a_kink(problem: Problem, data: Data) -> int:
    """Count the ReLU units so near 0 that two correct float32 programs can put them on different sides.

    The derivative jumps there, so no tolerance on a float32 gradient would be meaningful.
    """
    kinks = ("relu", "leaky_relu")
    if not any(g in kinks for g in problem.model.activations):
        return 0
    _, Z = autodiff.forward(problem.model, *jax.tree.map(jnp.asarray, (data.params, data.X)))
    kinked = [z for z, g in zip(Z, problem.model.activations, strict=True) if g in kinks]
    return sum(int(jnp.sum(jnp.abs(z) <= 8 * EPS * jnp.max(jnp.abs(z)))) for z in kinked)


def run(problems: Sequence[Problem]) -> int:
    """Print the table of the cross-check and return the number of failed cases."""
    start, cases = time.perf_counter(), []
    print(HEADER, flush=True)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        for problem in problems:
            for case in cross_check(problem):
                print(case, flush=True)
                cases.append(case)
    failed = sum(not case.passed for case in cases)
    seconds, device = time.perf_counter() - start, jax.devices()[0].device_kind
    print(
        f"\n{len(cases)} cases, {failed} failed, in {seconds:.0f} s on {device}: "
        f"largest error {max(c.float64 for c in cases):.1e} in float64 (bound {FLOAT64_BOUND:.0e}), "
        f"{max(c.float32 for c in cases):.1e} in float32 (autodiff's own {max(c.autodiff32 for c in cases):.1e})"
    )
    return failed
