"""The reduction of a quantity over examples: the mean under the weights, or the sum."""

from typing import Any, Literal

import jax

from manual_bp._record import Record

Reduction = Literal["mean", "sum"]


def reduce(record: Record, mean: Any, reduction: Reduction) -> Any:
    """`mean`, or for "sum" that times the total weight: the sum over examples, each times its given weight."""
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}; expected 'mean' or 'sum'")
    if reduction == "mean":
        return mean
    return jax.tree.map(lambda x: x * record.total_weight.astype(x.dtype), mean)
