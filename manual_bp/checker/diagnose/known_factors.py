"""The arrays that an engineer multiplies by, with the code that makes each: a mask, w, 1 - A, sigmoid(x), a count."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from manual_bp.checker.diagnose.evidence import Evidence

ELEMENTS = 128  # of an array are compared first
FUNCTIONS = 8  # values, at most, of which functions are taken
# code that runs as it is, each with the function that it is
OF_VALUES = {
    "(1 - {v})": lambda v: 1 - v,
    "(1 + {v})": lambda v: 1 + v,
    "{v}**2": lambda v: v**2,
    "(1 - {v}**2)": lambda v: 1 - v**2,
    "(1 + {v}**2)": lambda v: 1 + v**2,
    "{v} * (1 - {v})": lambda v: v * (1 - v),
    "np.exp({v})": np.exp,
    "np.sqrt({v})": np.sqrt,
    "np.sin({v})": np.sin,
    "np.cos({v})": np.cos,
    "np.sign({v})": np.sign,
    "({v} > 0)": lambda v: v > 0,
    "({v} <= 0)": lambda v: v <= 0,
    "(1 - np.tanh({v})**2)": lambda v: 1 - np.tanh(v) ** 2,
    "(1 - np.tanh({v}))": lambda v: 1 - np.tanh(v),
    "np.tanh({v})": np.tanh,
}
SIGMOID = "jax.nn.sigmoid({v})"
OF_ACTIVATIONS = {
    SIGMOID: jax.nn.sigmoid,
    "(1 - jax.nn.sigmoid({v}))": lambda v: 1 - jax.nn.sigmoid(v),
    "jax.nn.silu({v})": jax.nn.silu,
    "jax.nn.softplus({v})": jax.nn.softplus,
    "jax.nn.elu({v})": jax.nn.elu,
    "jax.nn.gelu({v})": jax.nn.gelu,
    f"({SIGMOID} * (1 + {{v}} * (1 - {SIGMOID})))": jax.grad(jax.nn.silu),
    f"({SIGMOID} * (1 + {{v}} * {SIGMOID}))": lambda v: jax.nn.sigmoid(v) * (1 + v * jax.nn.sigmoid(v)),
    "np.where({v} > 0, 1, np.exp({v}))": jax.grad(jax.nn.elu),
    "np.where({v} > 0, 1, jax.nn.elu({v}))": lambda v: jnp.where(v > 0, 1, jax.nn.elu(v)),
    "np.where({v} >= 0, 1, 0.01)": jax.grad(jax.nn.leaky_relu),
    "jax.jvp(jax.nn.gelu, ({v},), ({v} * 0 + 1,))[1]": jax.grad(jax.nn.gelu),
    "(jax.scipy.stats.norm.cdf({v}) + {v} * jax.scipy.stats.norm.pdf({v}))": jax.grad(
        lambda v: jax.nn.gelu(v, approximate=False)
    ),
}
NAMES = {
    SIGMOID: "sigmoid({v})",
    f"({SIGMOID} * (1 + {{v}} * (1 - {SIGMOID})))": "silu'({v})",
    "np.where({v} > 0, 1, np.exp({v}))": "elu'({v})",
    "np.where({v} >= 0, 1, 0.01)": "leaky_relu'({v})",
    "jax.jvp(jax.nn.gelu, ({v},), ({v} * 0 + 1,))[1]": "gelu'({v}) in the tanh form",
    "(jax.scipy.stats.norm.cdf({v}) + {v} * jax.scipy.stats.norm.pdf({v}))": "gelu'({v}) in the exact form",
}


def _apply_all(v: jax.Array) -> list[jax.Array]:
    return [jax.vmap(g)(v) for g in OF_ACTIVATIONS.values()]


_compiled = jax.jit(_apply_all)


def known_factors(evidence: Evidence, shape: tuple[int, ...], chosen: NDArray) -> dict[str, NDArray]:
    """Return the elements `chosen` of every known factor that broadcasts to `shape`, by its code."""
    found: dict[str, NDArray] = {}
    values = list(values_of_shape(evidence, shape))
    for text, value in values:
        found[text] = value.ravel()[chosen] * 1.0
    functions: dict[str, NDArray] = {}
    for text, value in values[:FUNCTIONS]:
        v = value.ravel()[chosen] * 1.0
        if np.isin(v, (0.0, 1.0)).all():
            functions[f"(1 - {text})"] = 1 - v
            continue
        padded = np.zeros(ELEMENTS)  # one shape, so that it is compiled once
        padded[: len(v)] = v
        with np.errstate(all="ignore"):
            functions |= {code.format(v=text): g(v) * 1.0 for code, g in OF_VALUES.items()}
            arrays = [np.asarray(a, np.float64)[: len(v)] for a in _compiled(padded)]
        functions |= {code.format(v=text): a for code, a in zip(OF_ACTIVATIONS, arrays, strict=True)}
    functions |= {code: a.ravel()[chosen] for code, a in _along_axes(evidence, shape)}
    found |= functions | {code: a.ravel()[chosen] * 1.0 for code, a in _of_indices(evidence, shape)}
    return {text: a for text, a in found.items() if np.isfinite(a).all() and a.any() and np.ptp(a) > 0}


def readable(code: str, names: list[str]) -> str:
    """Replace code by the name of its function, such as silu'(x)."""
    for name in names:
        for text, short in sorted(NAMES.items(), key=lambda pair: -len(pair[0])):  # the longest contain others
            code = code.replace(text.format(v=name), short.format(v=name))
    return code


def values_of_shape(evidence: Evidence, shape: tuple[int, ...]) -> Iterator[tuple[str, NDArray]]:
    """Broadcast the values of the arguments and nodes to a shape, also along an axis other than the last."""
    for name, value in evidence.forward_values.items():
        spread = spread_over(value, shape) if value.size and np.isfinite(value).all() else None
        if spread:
            yield name + spread[1], spread[0]


def _along_axes(evidence: Evidence, shape: tuple[int, ...]) -> Iterator[tuple[str, NDArray]]:
    """Take the sum and the norm of the values of this shape along each axis."""
    whole = [(n, v) for n, v in evidence.forward_values.items() if v.shape == shape and np.isfinite(v).all()]
    for name, value in whole[:FUNCTIONS] if len(shape) > 1 else ():
        for axis in range(len(shape)):
            along = f"axis={axis}, keepdims=True"
            yield f"{name}.sum({along})", np.broadcast_to(value.sum(axis=axis, keepdims=True), shape)
            norm = np.linalg.norm(value, axis=axis, keepdims=True)
            yield f"np.linalg.norm({name}, {along})", np.broadcast_to(norm, shape)


def spread_over(array: NDArray, shape: tuple[int, ...]) -> tuple[NDArray, str] | None:
    """Broadcast an array to a shape, also along an axis other than the last, with the index that does it."""
    if array.shape == shape or (array.ndim == len(shape) and _broadcasts(array, shape)):
        return np.broadcast_to(array, shape), ""
    if array.ndim and array.ndim < len(shape):
        for before in range(len(shape) - array.ndim, -1, -1):
            after = len(shape) - array.ndim - before
            if shape[before : before + array.ndim] == array.shape:
                index = "[" + ", ".join([":"] * array.ndim + ["None"] * after) + "]" if after else ""
                return np.broadcast_to(array.reshape(array.shape + (1,) * after), shape), index
    return None


def _broadcasts(value: NDArray, shape: tuple[int, ...]) -> bool:
    return all(n in (1, size) for n, size in zip(value.shape, shape, strict=True))


def index_arrays(evidence: Evidence) -> dict[str, NDArray]:
    return {n: v for n, v in evidence.forward_values.items() if v.dtype.kind in "iu" and v.ndim and v.size}


def _of_indices(evidence: Evidence, shape: tuple[int, ...]) -> Iterator[tuple[str, NDArray]]:
    """Count how often each row is meant by an array of indices, and where an index is negative."""
    for name, ids in index_arrays(evidence).items():
        if ids.min() < -1 or ids.max() > 10_000 or not shape:
            continue
        counts = np.bincount(ids[ids >= 0].ravel().astype(int), minlength=max(shape[0], 1))
        flat = f"{name}[{name} >= 0]" if ids.min() < 0 else f"{name}.ravel()"
        columns = (1,) * (len(shape) - 1)
        if len(counts) == shape[0]:
            place = "".join(", None" for _ in columns)
            text = f"np.bincount({flat}, minlength={shape[0]})"
            yield (f"{text}[:{place}]" if place else text), np.broadcast_to(counts.reshape(-1, *columns), shape)
        if ids.shape == shape[: ids.ndim]:
            columns = (1,) * (len(shape) - ids.ndim)
            place = "".join(", None" for _ in columns)
            counted = np.where(ids >= 0, counts[ids], 0).reshape(*ids.shape, *columns)
            yield f"np.bincount({flat})[{name}]{place and f'[...{place}]'}", np.broadcast_to(counted, shape)
