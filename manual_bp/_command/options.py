"""The options of `python -m manual_bp`."""

import argparse
import math
from collections.abc import Callable, Sequence

TRAIN = (
    "Train a network by hand-written backpropagation: ReLU layers, and a softmax output for classes or, with "
    "--regression, a linear one for values. Its gradient on the training data is first checked against jax.grad in "
    "float64; then it is trained with Adam and tested on a fifth of the examples that it has not seen."
)
TRAIN_MORE = (
    "Without --data it learns the 1,797 handwritten digits that come with scikit-learn. The same seed gives the same "
    "result. Exit status: 1 if the gradient is wrong, a step is not finite or the disk is full, 2 for bad input."
)
DATA = "your own: .npz with X (examples, features) and y, or .csv with a header row"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; a bad one ends the program with a usage message and exit status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m manual_bp",
        description="Networks trained by hand-written backpropagation.",
        epilog="Without a command it is train: python -m manual_bp --data mine.csv. "
        "What a command takes: python -m manual_bp train --help",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = commands.add_parser(
        "train", help="check the gradient, train, test; --out saves", description=TRAIN, epilog=TRAIN_MORE
    )
    _train(train)
    _predict(commands.add_parser("predict", help="classes or values of new examples, as .csv or .npz"))
    _evaluate(commands.add_parser("evaluate", help="how well a saved model does on examples whose targets are known"))

    # Before there were commands there was train
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        argv = ["train", *argv]
    options = parser.parse_args(argv)
    options.argv = argv
    _together(options, commands.choices[options.command].error)
    return options


def _train(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("data")
    data.add_argument("--data", metavar="FILE", help=DATA)
    data.add_argument(
        "--target",
        metavar="NAME",
        help="the .csv column with the targets (default: 'target', 'label' or 'y' if there is one, else the last)",
    )
    data.add_argument("--regression", action="store_true", help="the targets are values, not classes")

    add = parser.add_argument_group("training").add_argument
    add("--hidden", type=_sizes, default="128", metavar="N,N", help="units of each hidden layer (default: %(default)s)")
    add("--epochs", type=integer_from(1), default=40, metavar="N", help="passes over the data (default: %(default)s)")
    add("--batch-size", type=integer_from(1), default=32, metavar="N", help="examples a step (default: %(default)s)")
    add("--learning-rate", type=positive, default=1e-3, metavar="RATE", help="Adam's (default: %(default)s)")
    add("--l2", type=non_negative, default=0.0, metavar="L", help="adds L/2 times the squared weights to the cost")
    add("--dropout", type=probability, default=0.0, metavar="P", help="share of hidden units absent in each step")
    add(
        "--patience",
        type=integer_from(1),
        metavar="N",
        help="stop after N epochs without a lower cost on a fifth of the training examples, kept out for that, and go "
        "back to the best epoch",
    )
    add("--seed", type=integer_from(0), default=0, metavar="N", help="of split, weights, order (default: %(default)s)")
    add("--seeds", type=integer_from(1), default=1, metavar="N", help="train N times, from --seed on, and average")
    _device(parser)

    add = parser.add_argument_group("results").add_argument
    add("--out", metavar="DIR", help="save the model there, with checkpoints on the way")
    add("--resume", action="store_true", help="go on from the last checkpoint in --out")
    add("--plot", type=_file(".png"), metavar="FILE.png", help="draw the learning curves")


def _predict(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Predict with a model that train --out saved. The features of a .csv are found by their names, those of an "
        ".npz by their number; a column with the targets is ignored."
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="the directory that train --out made")
    add("--data", metavar="FILE", required=True, help="the examples: .npz with X, or .csv with a header row")
    add("--out", type=_file(".csv", ".npz"), metavar="FILE", help=".csv or .npz (default: a .csv to standard output)")
    add("--probabilities", action="store_true", help="the probability of each class, too")
    _device(parser)


def _evaluate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Cost, accuracy and confusion matrix of a model that train --out saved; R² and root mean squared error where "
        "it was trained with --regression."
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="the directory that train --out made")
    add("--data", metavar="FILE", required=True, help=DATA.removeprefix("your own: "))
    add("--target", metavar="NAME", help="the .csv column with the targets (default: the name it had in training)")
    _device(parser)


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cpu", "gpu"), help="(default: a GPU if JAX finds one)")


def _together(options: argparse.Namespace, error: Callable[[str], None]) -> None:
    """Refuses options that say nothing together."""
    if getattr(options, "target", None) is not None and not (options.data or "").lower().endswith(".csv"):
        error("--target names a column of a .csv file: give one with --data")
    if options.command == "train":
        if options.regression and options.data is None:
            error("--regression needs values to learn, and the digits have classes: give a file with --data")
        if options.resume and options.out is None:
            error("--resume goes on with the training in a directory: name it with --out")
        for name in ("out", "plot"):
            if options.seeds > 1 and getattr(options, name) is not None:
                error(f"--{name} is for one training, and --seeds makes {options.seeds}: leave one of the two out")


def integer_from(low: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and low <= int(text) < 2**31):
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {low} to {2**31 - 1}")
        return int(text)

    return integer


def positive(text: str) -> float:
    return _number(text, lambda value: 0 < value < math.inf, "a positive number")


def non_negative(text: str) -> float:
    return _number(text, lambda value: 0 <= value < math.inf, "a number from 0 on")


def probability(text: str) -> float:
    return _number(text, lambda value: 0 <= value < 1, "a number from 0 on and below 1")


def _number(text: str, fits: Callable[[float], bool], expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not fits(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return value


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(map(integer_from(1), text.split(",")))


def _file(*suffixes: str) -> Callable[[str], str]:
    def file(text: str) -> str:
        if not text.lower().endswith(suffixes):
            raise argparse.ArgumentTypeError(f"{text!r} is not a file named {' or '.join(suffixes)}")
        return text

    return file
