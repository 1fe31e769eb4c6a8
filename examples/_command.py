"""What the examples have in common as programs."""

import argparse
import sys
from collections.abc import Callable, Sequence

from manual_bp._command.errors import InputError
from manual_bp._command.options import integer_from
from manual_bp._command.say import say as say


def parser(name: str, about: str) -> argparse.ArgumentParser:
    """The parser of an example, with the option that all of them have."""
    parser = argparse.ArgumentParser(prog=f"python -m examples.{name}", description=about)
    parser.add_argument("--seed", type=integer_from(0), default=0, metavar="N", help="default: %(default)s")
    return parser


def run(
    example: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> int:
    """Runs an example and returns its exit status: 2, after one line, where a package or a file can't be had."""
    options = parser.parse_args(argv)
    try:
        example(options)
        return 0
    except (InputError, ImportError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
