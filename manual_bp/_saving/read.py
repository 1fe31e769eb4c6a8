"""The files of a saved model, read as if anyone could have written them: nothing is unpickled, and nothing is run."""

import hashlib
import io
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from manual_bp._checks.arguments import DTYPES
from manual_bp._saving.write import FORMAT, MODEL, SHA256, VERSION, some, stored, weights_name

ANEW = "copy the whole directory again, or save the model anew"


class SavedModelError(ValueError):
    """A saved model that can't be loaded. The message says in a sentence what was expected, what came, what to do."""


def read_model(path: Path) -> dict[str, Any]:
    """model.json, its fields of the types they are saved with."""
    if not path.is_dir():
        came = "is a file" if path.exists() else "does not exist"
        raise SavedModelError(f"{path} {came}; expected the directory of a model saved by bp.save")
    file = path / MODEL
    try:
        model = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise SavedModelError(
            f"{path} is not a saved model: it has no {MODEL}; pass a directory written by bp.save"
        ) from None
    except OSError as error:
        raise SavedModelError(f"{file} can't be read ({error.strerror}); expected a file written by bp.save") from None
    except (ValueError, RecursionError):
        raise SavedModelError(f"{file} is damaged: it is not JSON; {ANEW}") from None
    if not isinstance(model, dict) or model.get("format") != FORMAT:
        raise SavedModelError(
            f"{path} is not a saved model: its {MODEL} has no format {FORMAT!r}; pass a directory written by bp.save"
        )
    if type(model.get("version")) is int and model["version"] > VERSION:
        raise SavedModelError(
            f"{path} has format version {model['version']}, of manual_bp {model.get('manual_bp')}; expected {VERSION} "
            f"at most, as this is manual_bp {version('manual_bp')}: update it"
        )
    for key, (right, expected) in _fields(model).items():
        if not right:
            came = repr(model[key])[:80] if key in model else "missing"
            raise SavedModelError(f"{file} is damaged: {key} is {came}, expected {expected}; {ANEW}")
    return model


def read_weights(path: Path, model: dict[str, Any], sizes: tuple[int, ...]) -> list[tuple[str, np.ndarray]]:
    """W1, b1, W2, ... with their names, of these sizes and the dtype of the model; FileNotFoundError as it is."""
    file = path / weights_name(model["sha256"])
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SavedModelError(f"{file} can't be read ({error.strerror}); expected the weights of {MODEL}") from None
    found, expected = hashlib.sha256(data).hexdigest(), model["sha256"]
    if found != expected:
        raise SavedModelError(
            f"{file} is damaged: its checksum (sha256) is {found[:16]}..., expected {expected[:16]}...; {ANEW}"
        )
    try:
        arrays = dict(np.load(io.BytesIO(data), allow_pickle=False))
    except Exception as error:  # each of zipfile, zlib and the parser of headers raises its own
        came = "it holds Python objects, which are not run" if "pickle" in str(error) else "it is not an .npz of arrays"
        raise SavedModelError(f"{file} is damaged: {came}; expected the weights that bp.save writes") from None
    shapes = {}
    for l, (k, n) in enumerate(zip(sizes, sizes[1:], strict=False), start=1):
        shapes |= {f"W{l}": (n, k), f"b{l}": (n, 1)}
    if arrays.keys() != shapes.keys():
        raise SavedModelError(f"{file} holds {some(arrays)}; expected {some(shapes)}, as sizes is {sizes}; {ANEW}")
    dtype = stored(np.dtype(model["dtype"]))
    for name, shape in shapes.items():
        if arrays[name].shape != shape or arrays[name].dtype != dtype:
            raise SavedModelError(
                f"{name} in {file} has shape {arrays[name].shape} and dtype {arrays[name].dtype}; expected {shape} and "
                f"{dtype}, as sizes is {sizes} and dtype {model['dtype']}; {ANEW}"
            )
    return [(f"{name} in {file}", arrays[name].view(model["dtype"])) for name in shapes]


def _fields(model: dict[str, Any]) -> dict[str, tuple[bool, str]]:
    """Whether each field is what it should be, and that in words."""
    sha256 = model.get("sha256")
    return {
        "version": (model.get("version") == VERSION, str(VERSION)),
        "manual_bp": (isinstance(model.get("manual_bp"), str), "text"),
        "sizes": (isinstance(model.get("sizes"), list), "a list"),
        "hidden": (isinstance(model.get("hidden"), list), "a list"),
        "output": (isinstance(model.get("output"), str | dict), "a name"),
        "cost": (isinstance(model.get("cost"), str | dict), "a name"),
        "dtype": (model.get("dtype") in DTYPES, " or ".join(DTYPES)),
        "extra": (isinstance(model.get("extra"), dict), "an object"),
        "sha256": (isinstance(sha256, str) and bool(SHA256.fullmatch(sha256)), "64 hexadecimal digits"),
    }
