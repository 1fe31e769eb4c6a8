"""Check the rules of released packages, and write the table on docs/rules.md."""

import contextlib
import importlib.metadata
import importlib.util
import io
import pkgutil
import re
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp.checker import Report, check_custom_vjp
from reference.checker_proof.packaged_rules import RULES, PackagedRule
from reference.finite_differences import central_differences

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"
# the step of central differences, and the relative error within which they agree, by the dtype that f computes in
STEPS = {"float64": (1e-5, 1e-6), "float32": (1e-2, 1e-2)}
HEADER = "| package | function | the checker says | central differences | remark |\n|---|---|---|---|---|"


class Checked(NamedTuple):
    """A rule, its package's version, the checker's headline, and its relative error against central differences."""

    rule: PackagedRule
    package: str
    says: str
    error: float | None = None
    limit: float = 0.0
    reason: str = ""

    def surprise(self) -> str:
        """Return what is not as it should be: no report, a false alarm or a false "right", or ""."""
        verdict = self.says.split(":")[0]
        if self.error is None:
            return "" if verdict in ("right", "wrong", "cannot tell") else "no report"
        agree = self.error <= self.limit
        return "" if agree == (verdict == "right") else f"central differences {'agree' if agree else 'differ'}"

    def row(self) -> str:
        function = self.rule.name.removeprefix(self.rule.name.split(".")[0] + ".")
        error = "" if self.error is None else f"{self.error:.0e}"
        cells = [self.package, f"`{function}`", self.says, error, self.rule.remark or self.reason]
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def run() -> int:
    """Print the table, write it if no package is missing, and return the number of surprises."""
    start, checked, missing = time.perf_counter(), [], set()
    print(HEADER)
    for rule in RULES:
        package = rule.name.split(".")[0]
        if not importlib.util.find_spec(package):
            missing.add(package)
            continue
        checked.append(check(rule))
        print(checked[-1].row(), flush=True)
    surprises = [c for c in checked if c.surprise()]
    for c in surprises:
        print(f"SURPRISE: {c.rule.name}: {c.says}; {c.surprise()}")
    if missing:
        print(f"Not installed, so not checked: {', '.join(sorted(missing))}. {PAGE.name} is as it was.")
    else:
        table = "\n".join([HEADER, *(c.row() for c in checked)])
        text = re.sub(
            r"^\| package.*?(?=\n\n|\Z)", lambda _: table, PAGE.read_text(encoding="utf-8"), flags=re.S | re.M
        )
        PAGE.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    print(f"{len(checked)} rules, {len(surprises)} surprises, in {time.perf_counter() - start:.0f} s")
    return len(surprises)


def check(rule: PackagedRule) -> Checked:
    """Check a rule by the checker, and its lines by central differences."""
    package = _distribution(rule.name.split(".")[0])
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # the packages' own
        warnings.simplefilter("ignore")
        try:
            f, args = rule.call(pkgutil.resolve_name(rule.name))
            report = check_custom_vjp(f, *args)
        except Exception as error:
            return Checked(rule, package, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
        if report.verdict == "cannot tell" or report.dtype not in STEPS:
            reason = next((line.diagnosis for line in report.lines if line.verdict == "cannot tell"), report.dtype)
            return Checked(rule, package, headline(report), reason=reason)
        step, limit = STEPS[report.dtype]
        return Checked(rule, package, headline(report), error_of_rule(f, args, step), limit)


def headline(report: Report) -> str:
    return re.sub(r"\s+", " ", str(report).split("\n\n")[0])


def error_of_rule(f: Callable, args: Sequence, step: float) -> float:
    """Return the relative error of the rule's derivatives of <u, f> against central differences, in float64."""
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        args = [jnp.asarray(a) for a in args]
        shapes = [o.shape for o in jax.tree.leaves(jax.eval_shape(f, *args))]
        u = [np.random.default_rng(7).normal(size=shape) for shape in shapes]

        def weighted(*args: Any) -> Any:
            return sum(jnp.sum(a * b) for a, b in zip(u, jax.tree.leaves(f(*args)), strict=True))

        by_rule = jax.jit(jax.grad(weighted, argnums=tuple(range(len(args)))))(*args)
        value, errors = jax.jit(weighted), []
        for i, line in enumerate(by_rule):

            def at(array: np.ndarray, i: int = i) -> float:
                return float(value(*args[:i], jnp.asarray(array), *args[i + 1 :]))

            expected = central_differences(at, np.asarray(args[i]), step)
            errors.append(np.linalg.norm(line - expected) / np.linalg.norm(expected))
    return float(max(errors))


def _distribution(module: str) -> str:
    """Return the name and version of the package that a module belongs to."""
    name = next(iter(importlib.metadata.packages_distributions().get(module, [module])))
    return f"{name} {importlib.metadata.version(name)}"
