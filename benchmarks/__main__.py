"""The command line: `python -m benchmarks [COMMAND] [options]`, the command gradients unless named."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from benchmarks import compare, report
from benchmarks.compile import command as compilation
from benchmarks.environment import UsageError
from benchmarks.gradients import command as gradients
from benchmarks.memory import command as memory
from benchmarks.quantities import command as quantities
from benchmarks.roofline import command as roofline
from benchmarks.scaling import command as scaling
from benchmarks.training import command as training

COMMANDS = {
    "gradients": gradients,
    "quantities": quantities,
    "training": training,
    "compile": compilation,
    "scaling": scaling,
    "memory": memory,
    "roofline": roofline,
    "report": report,
    "compare": compare,
}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status: 0, 1 where a cell failed or is worse, 2 for what cannot be done."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        argv.insert(0, "gradients")
    parser = Parser(
        prog="python -m benchmarks",
        description="Manual programs against autodiff. Without a command: gradients. Each command has a --help.",
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
        print(f"{parser.prog}: interrupted; the cells that were finished are kept", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
