"""The options that suites have in common, and how much they make a run measure."""

import argparse
import re
from pathlib import Path
from typing import NamedTuple

from benchmarks.problem import NETWORKS

Network = tuple[str, tuple[int, ...]]  # its name and sizes


class Plan(NamedTuple):
    """What is measured: in each cell as many rounds as fit into `seconds`, from `least` to `most` of them."""

    networks: tuple[Network, ...]
    batch_sizes: tuple[int, ...]
    seconds: float
    least: int = 8
    most: int = 500
    widths: tuple[int, ...] = ()  # of `scaling` only, as depths
    depths: tuple[int, ...] = ()


def add_arguments(
    parser: argparse.ArgumentParser,
    quick: tuple[Plan, str],
    full: tuple[Plan, str],
    dtypes: list[str],
    timed: bool = True,
) -> None:
    """The plans each with a word on it; --dtype offers `dtypes`, the first by default; --repeats if `timed`."""
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument(
        "--quick", dest="plan", action="store_const", const=quick[0], default=quick[0], help=f"{quick[1]} (default)"
    )
    extent.add_argument("--full", dest="plan", action="store_const", const=full[0], help=full[1])
    parser.add_argument(
        "--networks",
        nargs="+",
        type=network,
        metavar="NAME",
        help=f"instead of the usual ones, any of {', '.join(NETWORKS)}, or sizes such as 12-8-3",
    )
    parser.add_argument("--batch-sizes", nargs="+", type=positive, metavar="M", help="instead of the usual ones")
    parser.add_argument("--dtype", choices=dtypes, default=dtypes[0], help=f"default: {dtypes[0]}")
    if timed:
        parser.add_argument("--repeats", type=rounds, metavar="N", help="rounds per cell (default: as time allows)")
    parser.add_argument("--device", choices=("cpu", "gpu"), help="default: what JAX chooses")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="results file, appended to (default: a new one in benchmarks/results)"
    )


def plan(args: argparse.Namespace) -> Plan:
    """The plan asked for, with what was given in its place."""
    chosen: Plan = args.plan
    if getattr(args, "repeats", None):
        chosen = chosen._replace(least=args.repeats, most=args.repeats)
    return chosen._replace(
        networks=tuple(args.networks or chosen.networks), batch_sizes=tuple(args.batch_sizes or chosen.batch_sizes)
    )


def network(text: str) -> Network:
    """A network given on the command line, by name or as sizes joined by dashes."""
    if text in NETWORKS:
        return text, NETWORKS[text]
    if not re.fullmatch(r"[1-9]\d*(-[1-9]\d*)+", text):
        raise argparse.ArgumentTypeError(
            f"unknown network {text!r}; expected {', '.join(NETWORKS)}, or sizes such as 12-8-3"
        )
    return text, tuple(int(n) for n in text.split("-"))


def positive(text: str) -> int:
    """A whole number above zero given on the command line."""
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def rounds(text: str) -> int:
    """A number of rounds given on the command line, enough for a 95 % interval."""
    n = positive(text)
    if n < 6:
        # the whole range of n ratios holds their median with probability 1 - 2^(1-n)
        raise argparse.ArgumentTypeError(f"{n} rounds have no 95 % interval; expected 6 or more")
    return n
