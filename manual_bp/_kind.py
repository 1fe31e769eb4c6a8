"""The kind of a value, in words for a message."""

from typing import Any


def a_kind(value: Any) -> str:
    """The kind of a value with its article, such as "a list" or "an array of shape (3, 5)"."""
    kind, shape = type(value).__name__, getattr(value, "shape", None)
    kind = "array" if kind in ("ndarray", "ArrayImpl") or kind.endswith("Tracer") else kind
    kind = f"{kind} of shape {shape}" if isinstance(shape, tuple) else kind
    return f"an {kind}" if kind[0] in "aeiouAEIOU" else f"a {kind}"
