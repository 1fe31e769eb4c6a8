"""Take Newton steps without a Hessian: conjugate gradients on products with the Gauss-Newton matrix.

    python examples/newton_cg.py        needs the extra sklearn

Each step minimises a quadratic model of the cost about the parameters, with damping lambda, by solving

    (G + lambda I) d = -g        g the gradient, G the Gauss-Newton part of the Hessian

with conjugate gradients. They need G only as G v, which costs about one more forward and backward pass over the record
of the last pass (Schraudolph 2002). Damping follows Levenberg and Marquardt: let rho be the change of the cost over the
change g.d + d.Gd/2 that the model predicts; lambda grows by 3/2 where rho < 1/4 and shrinks by 2/3 where rho > 3/4. A
step that raises the cost is not taken. Conjugate gradients start from the previous step, as in Martens, Deep learning
via Hessian-free optimization (2010).

Adam gets as many gradients as a Newton step takes gradients, costs and products with G together. Adam leads at first,
while damping, which starts at 1, keeps Newton's steps short; Newton reaches the lowest cost. A low cost on the training
digits is not yet a high accuracy on others: that is printed below it.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.scipy.sparse.linalg import cg
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import manual_bp as bp

NETWORK = bp.Network((64, 32, 10), hidden="tanh")
CG_STEPS = 10
# Conjugate gradients take one product more than steps; then there are the gradient, G d, and the cost after the step
EVALUATIONS = CG_STEPS + 4
LEARNING_RATES = (0.01, 0.03, 0.1)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train on handwritten digits by Newton steps, and by Adam.")
    parser.add_argument("--steps", type=int, default=40, help="the number of Newton steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args(argv)
    steps = options.steps

    images, labels = load_digits(return_X_y=True)
    split = train_test_split(images / 16, labels, test_size=0.2, stratify=labels, random_state=options.seed)
    rows, rows_test, y, y_test = map(jnp.asarray, split)
    X, X_test = rows.T, rows_test.T  # columns are examples
    params = bp.init(NETWORK, jax.random.key(options.seed))
    print(f"{len(y)} handwritten digits, all in each step; network 64-32-10, tanh")
    print(f"a Newton step counts as {EVALUATIONS} evaluations, at most {CG_STEPS + 2} of them products with G")

    start = params, jnp.asarray(1.0), jax.tree.map(jnp.zeros_like, params)
    runs = {"Newton-CG": run(newton_step, start, X, y, steps, 1)}
    for rate in LEARNING_RATES:
        optimizer = optax.adam(rate)
        start = params, optimizer.init(params)
        runs[f"Adam {rate}"] = run(adam_step(optimizer), start, X, y, steps * EVALUATIONS, EVALUATIONS)
    print(f"{'evaluations':>13}" + "".join(f"{name:>12}" for name in runs))
    for n in sorted({1, -(-steps // 8), -(-steps // 4), -(-steps // 2), steps}):
        print(f"{n * EVALUATIONS:13}" + "".join(f"{costs[n - 1]:12.2e}" for _, costs, _ in runs.values()))
    tested = (bp.evaluate(NETWORK, params, X_test, y_test).metric for params, _, _ in runs.values())
    print(f"{'test accuracy':>13}" + "".join(f"{share:12.1%}" for share in tested))
    print(f"{'seconds':>13}" + "".join(f"{seconds:12.2f}" for _, _, seconds in runs.values()))


def run(
    step: Callable, start: Any, X: jax.Array, y: jax.Array, steps: int, every: int
) -> tuple[bp.Params, jax.Array, float]:
    """Return the parameters after all steps, the cost after every few of them, and the seconds without compiling."""

    def all_steps(state):
        (params, *_), costs = jax.lax.scan(lambda state, _: step(state, X, y), state, length=steps)
        return params, jnp.append(costs[every::every], bp.cost(NETWORK, params, X, y))

    compiled = jax.jit(all_steps).lower(start).compile()
    begin = time.perf_counter()
    params, costs = jax.block_until_ready(compiled(start))
    return params, costs, time.perf_counter() - begin


def adam_step(optimizer: optax.GradientTransformation) -> Callable:
    def step(state, X, y):
        params, optimizer_state = state
        cost, grads = bp.value_and_grad(NETWORK)(params, X, y)
        updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
        return (optax.apply_updates(params, updates), optimizer_state), cost

    return step


def newton_step(state, X, y):
    """Return the state (params, damping, d) after one step, and the cost before it; d is the step taken."""
    params, damping, d = state
    record = bp.backpropagate(NETWORK, params, X, y)
    g = bp.gradients(record)

    def damped(v):
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
    main()
