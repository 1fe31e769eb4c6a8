"""The options of `python -m manual_bp`."""

import argparse
import math
from collections.abc import Callable, Sequence


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; a bad one ends the program with a usage message and exit status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m manual_bp",
        description="Train a classifier by hand-written backpropagation: a ReLU network with a softmax output. Its "
        "gradient on the training data is first checked against jax.grad in float64; then it is trained with Adam "
        "and tested on a held-out fifth of each class.",
        epilog="Without --data it learns the 1,797 handwritten digits that come with scikit-learn. The same seed "
        "gives the same result. Exit status: 1 if the gradient is wrong or the cost diverges, 2 for bad input.",
    )
    add = parser.add_argument
    add("--data", metavar="FILE", help="your own: .npz with X (examples, features) and y, or .csv with a header row")
    add(
        "--target",
        metavar="NAME",
        help="the .csv column with the classes (default: 'target', 'label' or 'y' if there is one, else the last)",
    )
    add("--hidden", type=_sizes, default="128", metavar="N,N", help="units of each hidden layer (default: %(default)s)")
    add("--epochs", type=integer_from(1), default=40, metavar="N", help="passes over the data (default: %(default)s)")
    add("--batch-size", type=integer_from(1), default=32, metavar="N", help="examples a step (default: %(default)s)")
    add("--learning-rate", type=positive, default=1e-3, metavar="RATE", help="Adam's (default: %(default)s)")
    add("--seed", type=integer_from(0), default=0, metavar="N", help="of split, weights, order (default: %(default)s)")
    add("--seeds", type=integer_from(1), default=1, metavar="N", help="train N times, from --seed on, and average")
    options = parser.parse_args(argv)
    if options.target is not None and not (options.data or "").lower().endswith(".csv"):
        parser.error("--target names a column of a .csv file: give one with --data")
    return options


def integer_from(low: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and low <= int(text) < 2**31):
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {low} to {2**31 - 1}")
        return int(text)

    return integer


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(map(integer_from(1), text.split(",")))


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value
