"""The check of the functions that a file defines: `python -m manual_bp check FILE.py`."""

import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import jax

from manual_bp.checker._check import check_gradients
from manual_bp.checker._custom_vjp import check_custom_vjp
from manual_bp.checker._report import Report
from manual_bp.checker._user_frames import user_frames

STATUS = {"right": 0, "wrong": 1, "cannot tell": 2}
TO_WRITE = {
    "cost": """
def cost({arguments}):
    ...
    return jnp.mean(losses)
""",
    "backward": """
def backward({arguments}):
    ...
    return {{"dW1": dW1, "db1": db1}}  # lines by their names, or all in a pytree like the parameters
""",
    "rule": """
rule = {rule}  # a function with a jax.custom_vjp
""",
    "inputs": """
def inputs():
    ...
    return {arguments}  # where to check, such as rng.normal(size=(5, 4))
""",
}


class NotChecked(Exception):
    """An error for a file that cannot be checked, with what was expected, what came, and what to write."""


def check_file(path: Path) -> int:
    """Print the report on a file's functions. Return 0 if they are right, 1 if wrong, 2 if that cannot be told.

    With `cost`, `backward` and `inputs` in it, the backward pass is checked; with `rule`, or `f`, and `inputs`, the
    rule of that custom_vjp.
    """
    try:
        report = _report_on(_run(path))
    except NotChecked as error:
        print(f"{path} is not checked: {error}", file=sys.stderr)
        return 2
    except (Exception, SystemExit) as error:  # a file that ends by sys.exit() would look right
        print(f"{path} is not checked, because of an error:\n{_explain(error)}", end="", file=sys.stderr)
        return 2
    print(report)
    return STATUS[report.verdict]


def _run(path: Path) -> ModuleType:
    """Run the file as an import would, with the modules of its folder at hand."""
    if not path.is_file():
        raise NotChecked(f"expected a Python file; {'this is a folder' if path.is_dir() else 'there is none'}")
    module = ModuleType("checked_file")
    module.__file__ = str(path.resolve())
    sys.modules[module.__name__] = module  # where dataclasses look it up
    sys.path.insert(0, str(path.resolve().parent))
    exec(compile(path.read_bytes(), module.__file__, "exec"), vars(module))
    return module


def _report_on(module: ModuleType) -> Report:
    found = {name: value for name, value in vars(module).items() if callable(value)}
    of_rule = "backward" not in found and ("rule" in found or "f" in found and "cost" not in found)
    rule = found.get("rule") or found.get("f") if of_rule else None
    missing = [name for name in (("inputs",) if rule else ("cost", "backward", "inputs")) if name not in found]
    if missing:
        raise NotChecked(_advice(found, rule, missing))
    if not rule and "rule" in found:
        note = "note: rule is not checked, because inputs() returns the arguments of cost; it needs a file of its own"
        print(note, file=sys.stderr)
    given = found["inputs"]()
    if isinstance(given, list):
        raise NotChecked("inputs() must return a tuple, as by `return params, X, Y`; it returned a list")
    given = given if type(given) is tuple else (given,)  # a named tuple is one argument
    return check_custom_vjp(rule, *given) if rule else check_gradients(found["cost"], found["backward"], *given)


def _advice(found: dict[str, Callable], rule: Callable | None, missing: list[str]) -> str:
    """Say what is missing, and write it out with the arguments of the functions that are there."""
    with_rules = [name for name, value in found.items() if isinstance(value, jax.custom_vjp)]
    if with_rules and not rule and not found.keys() & {"cost", "backward"}:
        missing, rule = ["rule", *(["inputs"] if "inputs" in missing else [])], found[with_rules[0]]
    like = rule or found.get("cost") or found.get("backward")
    arguments = ", ".join(_arguments(like)) if like else "params, X, Y"
    lines = "\n".join(TO_WRITE[name].format(arguments=arguments, rule="".join(with_rules[:1])) for name in missing)
    expected = "expected the functions cost, backward and inputs, or rule (or f) and inputs"
    return f"{expected}; missing: {', '.join(missing)}. Add\n{lines}"


def _arguments(function: Callable) -> list[str]:
    """Return the names of the arguments that have no default, but for tap."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.name != "tap" and p.default is p.empty] or ["x"]


def _explain(error: BaseException) -> str:
    """Return the error below the user's own lines of its traceback, without JAX's note on the lines that it hides."""
    trace = user_frames(error.__traceback__)
    error.__notes__ = [note for note in getattr(error, "__notes__", ()) if "JAX_TRACEBACK_FILTERING" not in note]
    shown = traceback.format_exception(error.with_traceback(trace), chain=False)
    return "".join(shown if trace else traceback.format_exception_only(error))
