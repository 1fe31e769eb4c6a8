"""Newton steps without a Hessian: conjugate gradients on products with the Gauss-Newton matrix.

    python -m examples.newton_cg

Each step minimises a quadratic model of the cost about the parameters, with damping lambda, by solving

    (G + lambda I) d = -g        g the gradient, G the Gauss-Newton part of the Hessian

with conjugate gradients. They need G only as G v, which is about one more forward and backward pass over what the
record of the last one holds (Schraudolph 2002). Damping follows Levenberg and Marquardt: with rho the change of the
cost over the change that the model g.d + d.Gd/2 foretold, lambda grows by 3/2 where rho < 1/4 and shrinks by 2/3 where
rho > 3/4. A step that raises the cost is not taken. Martens, Deep learning via Hessian-free optimization (2010), also
for starting conjugate gradients from the step before.

Adam gets as many gradients as a Newton step takes gradients, costs and products with G together. It is ahead at first,
while damping, which starts at 1, keeps Newton's steps short; the lowest cost is Newton's. A low cost is not yet a high
accuracy on other digits: that is printed below it.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.scipy.sparse.linalg import cg
from manual_bp._command.options import integer_from

import manual_bp as bp
from examples import _command
from examples._command import say
from examples._digits import Digits, split_digits
from examples._training import accuracy, descent_step
from manual_bp._network import Params

NETWORK = bp.Network((64, 32, 10), hidden="tanh")
CG_STEPS = 10
# The gradient, the cost after the step, G d for its model, and a product more than conjugate gradients take steps
EVALUATIONS = CG_STEPS + 4
LEARNING_RATES = (0.01, 0.03, 0.1)

Step = Callable[[Any, jax.Array, jax.Array], tuple[Any, jax.Array]]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the example and returns its exit status."""
    parser = _command.parser("newton_cg", "Train on handwritten digits by Newton steps, and by Adam for comparison.")
    parser.add_argument(
        "--steps", type=integer_from(1), default=40, metavar="N", help="Newton's (default: %(default)s)"
    )
    return _command.run(_example, parser, argv)


def _example(options: argparse.Namespace) -> None:
    digits, steps = split_digits(options.seed), options.steps
    params = bp.init(NETWORK, jax.random.key(options.seed))
    say(f"{len(digits.y)} handwritten digits, all in each step; network 64-32-10, tanh")
    say(f"a Newton step counts as {EVALUATIONS} evaluations, at most {CG_STEPS + 2} of them products with G")

    start = params, jnp.asarray(1.0), jax.tree.map(jnp.zeros_like, params)
    runs = {"Newton-CG": _run(_newton_step, start, digits, steps, 1)}
    for rate in LEARNING_RATES:
        optimizer = optax.adam(rate)
        start = params, optimizer.init(params)
        runs[f"Adam {rate}"] = _run(descent_step(NETWORK, optimizer), start, digits, steps * EVALUATIONS, EVALUATIONS)
    say(f"{'evaluations':>13}" + "".join(f"{name:>12}" for name in runs))
    for n in sorted({1, -(-steps // 8), -(-steps // 4), -(-steps // 2), steps}):
        say(f"{n * EVALUATIONS:13}" + "".join(f"{costs[n - 1]:12.2e}" for _, costs, _ in runs.values()))
    tested = (accuracy(NETWORK, params, digits.X_test, digits.y_test) for params, _, _ in runs.values())
    say(f"{'test accuracy':>13}" + "".join(f"{share:12.1%}" for share in tested))
    say(f"{'seconds':>13}" + "".join(f"{seconds:12.2f}" for _, _, seconds in runs.values()))


def _run(step: Step, start: Any, digits: Digits, steps: int, every: int) -> tuple[Params, jax.Array, float]:
    """The parameters after all steps, the cost after every few of them, and the seconds it took, compiled."""

    X, y = digits.X, digits.y

    def run(state: Any) -> tuple[Params, jax.Array]:
        (params, *_), costs = jax.lax.scan(lambda state, _: step(state, X, y), state, length=steps)
        return params, jnp.append(costs[every::every], bp.cost(NETWORK, params, X, y))

    compiled = jax.jit(run).lower(start).compile()
    begin = time.perf_counter()
    params, costs = jax.block_until_ready(compiled(start))
    return params, costs, time.perf_counter() - begin


def _newton_step(
    state: tuple[Params, jax.Array, Params], X: jax.Array, y: jax.Array
) -> tuple[tuple[Params, jax.Array, Params], jax.Array]:
    """One step from (params, damping, the step before), and the cost it starts at."""
    params, damping, d = state
    record = bp.backpropagate(NETWORK, params, X, y)
    g = bp.gradients(record)

    def damped(v: Params) -> Params:
        return optax.tree.add_scale(bp.gauss_newton_product(record, v), damping, v)

    d, _ = cg(damped, optax.tree.scale(-1, g), x0=d, maxiter=CG_STEPS)
    model = optax.tree.vdot(g, d) + optax.tree.vdot(d, bp.gauss_newton_product(record, d)) / 2
    moved = optax.tree.add(params, d)
    change = bp.cost(NETWORK, moved, X, y) - record.cost
    rho = change / model
    damping = damping * jnp.where(rho > 3 / 4, 2 / 3, jnp.where(rho >= 1 / 4, 1, 3 / 2))
    params = optax.tree.where(change < 0, moved, params)
    return (params, damping, d), record.cost


if __name__ == "__main__":
    sys.exit(main())
