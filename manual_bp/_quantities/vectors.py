"""Vectors shaped like the parameters, one or several stacked along a first axis."""

from collections.abc import Callable

import jax

from manual_bp._kind import a_kind
from manual_bp._network import Layer, Params
from manual_bp._record import Record, check_record


def for_each_vector(product: Callable[[Record, Params], Params], record: Record, V: Params) -> Params:
    """product(record, V), or the stacked products of the vectors in V, which get the dtype of the parameters."""
    check_record(record)
    V, stacked = _checked(record.params, V)
    if not stacked:
        return product(record, V)
    return jax.vmap(product, in_axes=(None, 0))(record, V)


def _checked(params: Params, V: Params) -> tuple[Params, bool]:
    L = len(params)
    if not isinstance(V, tuple | list) or isinstance(V, Layer) or len(V) != L:
        came = f"{len(V)} entries" if isinstance(V, tuple | list) and not isinstance(V, Layer) else a_kind(V)
        raise TypeError(f"V is {came}; expected a tuple of {L} bp.Layer(W, b), like the parameters")
    checked, several = [], set()
    for l, (layer, v) in enumerate(zip(params, V, strict=True), start=1):
        if not isinstance(v, tuple) or len(v) != 2:
            raise TypeError(f"layer {l} of V is {a_kind(v)}; expected a bp.Layer(W, b)")
        for name, p, x in (("W", layer.W, v[0]), ("b", layer.b, v[1])):
            shape = getattr(x, "shape", None)
            if shape is None or shape[-2:] != p.shape or len(shape) > 3:
                stacked = f"(k, {', '.join(map(str, p.shape))})"
                raise ValueError(
                    f"{name}[{l}] of V is {a_kind(x)}; expected shape {p.shape}, as in the parameters, or {stacked} "
                    "for k vectors at once"
                )
            several.add(shape[:-2])
        checked.append(Layer(v[0].astype(layer.W.dtype), v[1].astype(layer.b.dtype)))
    if len(several) > 1:
        counts = " and ".join(f"{shape[0]} stacked" if shape else "one" for shape in sorted(several))
        raise ValueError(f"arrays of V hold {counts}; expected the same number of vectors in each array")
    return tuple(checked), several != {()}
