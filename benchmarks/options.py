"""The command-line options that all suites share."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.environment import UsageError
from benchmarks.plans import COSTS, NETWORKS, Network, Plan, random_points
from reference.autodiff import ACTIVATIONS


def add_arguments(parser: argparse.ArgumentParser, plans: Mapping[str, Plan], dtypes: Sequence[str]) -> None:
    """Add the options; the first plan and the first dtype are the defaults."""
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--plan", choices=plans, default="quick", help="the cells to measure (default: quick)")
    for name in ("quick", "full"):
        extent.add_argument(f"--{name}", dest="plan", action="store_const", const=name, help=f"the plan {name}")
    parser.epilog = "Plans: " + ". ".join(f"{name}: {plan.summary}" for name, plan in plans.items()) + "."
    parser.add_argument(
        "--networks",
        nargs="+",
        type=network,
        metavar="NAME",
        help=f"replace the plan's networks by any of {', '.join(NETWORKS)}, or by sizes such as 12-8-3",
    )
    parser.add_argument(
        "--batch-sizes", nargs="+", type=positive, metavar="M", help="replace the plan's batch sizes by these"
    )
    if len(dtypes) > 1:
        parser.add_argument("--dtype", choices=dtypes, help=f"default: {dtypes[0]}")
    parser.set_defaults(dtype=dtypes[0])
    parser.add_argument("--repeats", type=rounds, metavar="N", help="rounds per cell (default: as many as time allows)")
    parser.add_argument("--device", choices=("cpu", "gpu"), help="default: the device that JAX chooses")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="append the results to this file (default: a new one in benchmarks/results)",
    )


def add_random(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--random",
        type=positive,
        metavar="N",
        help="replace the plan's cells by N random networks and batch sizes; of these, 12-8-3:tanh:identity has tanh "
        "in the hidden layers and an identity output, and --networks takes such a name too",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the seed of these (default: 0)")


def chosen_plan(args: argparse.Namespace, plans: Mapping[str, Plan]) -> Plan:
    """The plan that was asked for, with its networks, batch sizes and rounds replaced by those given."""
    plan = plans[args.plan]
    if args.repeats:
        plan = plan._replace(least=args.repeats, most=args.repeats)
    takes_activations = hasattr(args, "random")
    if takes_activations and args.random:
        return plan._replace(networks=(), batch_sizes=(), also=random_points(args.random, args.seed))
    if other := [n.name for n in args.networks or () if not takes_activations and n.activations]:
        raise UsageError(f"{other[0]}: this command has ReLU in the hidden layers and softmax at the output")
    if args.networks or args.batch_sizes:
        plan = plan._replace(also=())
    return plan._replace(
        networks=tuple(args.networks or plan.networks), batch_sizes=tuple(args.batch_sizes or plan.batch_sizes)
    )


def network(text: str) -> Network:
    """Parse a network: a name, or sizes joined by dashes."""
    if text in NETWORKS:
        return Network(text, NETWORKS[text])
    sizes, *activations = text.split(":")
    hidden, output = activations or ("relu", "softmax") if len(activations) in (0, 2) else ("", "")
    if not re.fullmatch(r"[1-9]\d*(-[1-9]\d*)+", sizes) or hidden not in ACTIVATIONS or output not in COSTS:
        raise argparse.ArgumentTypeError(
            f"unknown network {text!r}; expected {', '.join(NETWORKS)}, or sizes such as 12-8-3 or 12-8-3:tanh:identity"
        )
    return Network(text, tuple(int(n) for n in sizes.split("-")), hidden, output)


def positive(text: str) -> int:
    """Parse a whole number above zero."""
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def rounds(text: str) -> int:
    """Parse a number of rounds that is large enough for a 95 % interval."""
    n = positive(text)
    if n < 6:
        # the range of n ratios contains their median with probability 1 - 2^(1-n)
        raise argparse.ArgumentTypeError(f"{n} rounds are too few for a 95 % interval; expected 6 or more")
    return n
