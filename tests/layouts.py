"""The layouts of other libraries, there and back."""

from manual_bp import convert

DTYPES = ("float32", "float64", "bfloat16")
TO = {"sklearn": convert.to_sklearn, "torch": convert.to_torch, "flax": convert.to_flax}
FROM = {
    "sklearn": lambda layout, dtype=None: convert.from_sklearn(*layout, dtype=dtype),
    "torch": convert.from_torch,
    "flax": convert.from_flax,
}
