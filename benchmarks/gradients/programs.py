"""The four programs that compute one and the same gradient."""

import manual_bp as bp
from benchmarks.problem import Program, draw, gradient_by_autodiff
from reference import autodiff


def programs(sizes: tuple[int, ...], batch_size: int, dtype: str) -> dict[str, Program]:
    """The four over the same numbers, each of which returns (cost, gradient).

    "manual" is `bp.value_and_grad`. "autodiff" is what a good user writes, examples in columns as the equations have
    them; "autodiff_rows" the same with examples in rows, as most JAX code has them. "control" is a second copy of
    "autodiff", compiled apart: a measurement that tells the two from each other is not to be believed.
    """
    network, model, params, X, Y = draw(sizes, batch_size, dtype)
    return {
        "manual": Program(bp.value_and_grad(network), (params, X, Y)),
        "autodiff": Program(gradient_by_autodiff(autodiff.cost, model), (params, X, Y)),
        "autodiff_rows": Program(gradient_by_autodiff(autodiff.cost_of_rows, model), (params, X.T, Y)),
        "control": Program(gradient_by_autodiff(autodiff.cost, model), (params, X, Y)),
    }


def flops(sizes: tuple[int, ...], batch_size: int) -> int:
    """Floating-point operations in the matrix products of one gradient.

    Z, dA and dW take 2 n_l n_{l-1} for each example and layer; dA[0] is not needed.
    """
    per_layer = [k * n for k, n in zip(sizes[:-1], sizes[1:], strict=True)]
    return batch_size * (6 * sum(per_layer) - 2 * per_layer[0])
