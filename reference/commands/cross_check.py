"""manual_bp against autodiff over the grid, a line for each case."""

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
        name = f"{self.problem.name}, {self.problem.model.cost}"
        row = (
            f"{name:53s} {self.seed:4d}  {'yes' if self.weighted else 'no':8s} {self.float64:9.1e} {self.float32:9.1e} "
        )
        return row + f"{self.autodiff32:9.1e}  {'ok' if self.passed else 'FAILED'}{self.note}"


HEADER = f"{'case':53s} {'seed':>4s}  {'weights':8s} {'float64':>9s} {'float32':>9s} {'autodiff':>9s}  verdict"


def cross_check(problem: Problem, seeds: Sequence[int] = SEEDS) -> Iterator[Case]:
    """Every seed of a problem, weighted and not, in float64 and float32: one compiled program for each dtype.

    In float64 a leaf may be off by 1e-12. In float32 it may be off by twice what autodiff is off on that leaf in the
    worst of these draws (on one draw autodiff can be exact by luck), or by 4 eps, and by 1e-5 in any case. Two kinds
    of draw no float32 program gets right, and a note says so: a ReLU within rounding of its kink, where float32 is not
    judged at all, and a sum that cancels so far that autodiff itself misses 1e-5, where that bound is left out.
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
        note = f" ({kinks} units at a kink)" if kinks else " (a sum cancels)" if own32 > FLOAT32_BOUND else ""
        yield Case(problem, seed, weighted, largest64, largest32, own32, passed, note)


def _run(problem: Problem, data: Data, dtype: Any) -> tuple[dict, dict]:
    """Costs, gradients and intermediates by hand and by autodiff, in one program."""
    params = tuple(bp.Layer(jnp.asarray(W, dtype), jnp.asarray(b, dtype)) for W, b in data.params)
    Y = jnp.asarray(data.Y, jnp.int32 if problem.targets == "indices" else dtype)
    return _program(problem)(params, jnp.asarray(data.X, dtype), Y, jnp.asarray(data.weights, dtype))


@functools.cache
def _program(problem: Problem) -> Any:
    model = problem.model
    network = bp.Network(*model)

    def gradients(cost: Any, *args: Any) -> dict:
        c, (dparams, dX) = jax.value_and_grad(cost, argnums=(0, 1))(*args)
        return {"cost": c, "dparams": dparams, "dX": dX}

    @jax.jit
    def program(params: Any, X: Any, Y: Any, weights: Any) -> tuple[dict, dict]:
        manual_cost, autodiff_cost = functools.partial(bp.cost, network), functools.partial(autodiff.cost, model)
        record = bp.backpropagate(network, params, X, Y)
        dA, dZ = autodiff.intermediates(model, params, X, Y)
        by_hand = {
            "mean": gradients(manual_cost, params, X, Y) | {"dA": record.dA, "dZ": record.dZ[1:]},
            "weighted": gradients(manual_cost, params, X, Y, weights),
        }
        by_autodiff = {
            "mean": gradients(autodiff_cost, params, X, Y) | {"dA": dA, "dZ": dZ},
            "weighted": gradients(autodiff_cost, params, X, Y, weights),
        }
        return by_hand, by_autodiff

    return program


def _units_at_a_kink(problem: Problem, data: Data) -> int:
    """Units of a ReLU so near 0 that two correct float32 programs can disagree on their side.

    There float32 is not judged: the derivative jumps, and no tolerance on the gradient would mean anything.
    """
    kinks = ("relu", "leaky_relu")
    if not any(g in kinks for g in problem.model.activations):
        return 0
    _, Z = autodiff.forward(problem.model, *jax.tree.map(jnp.asarray, (data.params, data.X)))
    kinked = [z for z, g in zip(Z, problem.model.activations, strict=True) if g in kinks]
    return sum(int(jnp.sum(jnp.abs(z) <= 8 * EPS * jnp.max(jnp.abs(z)))) for z in kinked)


def run(problems: Sequence[Problem]) -> int:
    """The table of the cross-check; the number of cases that failed."""
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
