"""Compare manual_bp with the oracles; `python -m reference --help` lists the commands."""

import argparse
import sys

from reference.commands import catalogue, checker, cross_check, estimators, published, quantities, rules
from reference.grid import PROBLEMS

# the short and the long description of each
COMMANDS = {
    "quantities": (
        "check per-example norms, clipping, moments and curvature",
        "Check per-example quantities, moments and curvature against vmap(grad), jvp of grad and "
        "Jacobians written out, in float64.",
    ),
    "checker": (
        "let the gradient checker find planted mistakes",
        "Plant every mistake of the catalogue in every layer of random networks, and count those that the "
        "gradient checker and jax.test_util.check_grads find. Then search at random, beyond dense layers, for wrong "
        "passes and rules that it calls right, and right ones that it calls wrong. The status is 1 if the checker "
        "misses or misnames a mistake, or calls a correct pass wrong.",
    ),
    "published": (
        "let the gradient checker find the misprints in published equations",
        "Run the gradient checker over published sets of equations as they are printed, right and wrong. "
        "The status is 1 if one of them does not get the verdict that it should.",
    ),
    "catalogue": (
        "write the reports on the page of mistakes",
        "Run the code on docs/mistakes.md and write what the gradient checker reports below it. The status is 1 if the "
        "page does not show every mistake that the checker knows.",
    ),
    "rules": (
        "let the gradient checker check rules of released packages",
        "Check rules of custom_vjp and custom_jvp in the packages that are installed, also by central differences, and "
        "write docs/rules.md if none is missing. The status is 1 if the checker and central differences disagree.",
    ),
    "estimators": (
        "compare MLPClassifier and MLPRegressor with scikit-learn's",
        "Train the estimators and scikit-learn's on the same real data, and score both on the same "
        "test examples. The status is 1 if they differ by more than noise.",
    ),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reference",
        description="Check manual_bp against autodiff over a grid of networks, costs, seeds and weights. "
        "An error is the relative error, in norm, of the worst leaf (cost, dW, db, dX, every dA and dZ).",
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only the cases whose name contains TEXT")
    commands = parser.add_subparsers(dest="command", metavar=f"[{' | '.join(COMMANDS)}]")
    for name, (instead, description) in COMMANDS.items():
        commands.add_parser(name, help=f"instead, {instead}", description=description)
    args = parser.parse_args(argv)
    without_grid = {
        "checker": checker,
        "published": published,
        "catalogue": catalogue,
        "rules": rules,
        "estimators": estimators,
    }
    if args.command in without_grid:
        if args.only:
            parser.error("--only is for the cases of the cross-check")
        return 1 if without_grid[args.command].run() else 0
    problems = [p for p in PROBLEMS if args.only in p.name]
    if not problems:
        parser.error("no case has that in its name; without --only all are listed")
    return 1 if (quantities if args.command == "quantities" else cross_check).run(problems) else 0


if __name__ == "__main__":
    sys.exit(main())
