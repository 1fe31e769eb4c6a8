"""The command line: `python -m benchmarks [COMMAND] [options]`; without a command, gradients."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from benchmarks import compare, report
from benchmarks.environment import UsageError
from benchmarks.gpu import command as gpu
from benchmarks.gradients import command as gradients
from benchmarks.quantities import command as quantities
from benchmarks.roofline import command as roofline
from benchmarks.training import command as training

COMMANDS = {
    "gradients": gradients,
    "quantities": quantities,
    "training": training,
    "roofline": roofline,
    "gpu": gpu,
    "report": report,
    "compare": compare,
}


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 if a cell failed or got worse, 2 if the request cannot be met."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        argv.insert(0, "gradients")
    parser = Parser(
        prog="python -m benchmarks",
        description='Times hand-written ("manual") programs against autodiff. Without a command, runs gradients. Each '
        "command has its own --help.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except UsageError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted; the results of finished cells are kept", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
