"""Checks and times everything on a GPU in ten minutes: a rehearsal at small sizes with --device cpu."""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import environment, options, records
from benchmarks.display import Table, show
from benchmarks.gpu.step import INTERRUPTED, Ended, run_step
from benchmarks.gpu.steps import NAMES, Step, steps

# What may be missing on a machine where nothing can be installed, and what is then left out
OPTIONAL = {
    "torch": "training with PyTorch",
    "flax": "training with Flax",
    "matplotlib": "the figures; draw them elsewhere: python -m benchmarks report FILE",
    "beartype": "the tests (make test)",
    "dp_accounting": "the accounting of bp.privacy",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        f"Steps: {', '.join(NAMES)}. Each is a process of its own, and may take its share of the time that is left. "
        "Exit status: 1 if a step failed or wrote no row."
    )
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="default: gpu")
    parser.add_argument(
        "--seconds", type=options.positive, default=600, metavar="S", help="time for all steps (default: 600)"
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="STEP", help="run only these steps")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="write the results there (default: a new folder in benchmarks/results, named by the device)",
    )


def run(args: argparse.Namespace) -> int:
    environment.require("rich")
    start, device = time.monotonic(), device_name(args.device)
    folder = (args.out or new_folder(args.device, device)).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise environment.UsageError(f"{folder}: {error.strerror}") from None
    print(f"{device}; {args.seconds} s at most; results in {folder}", flush=True)
    for name, needed_for in OPTIONAL.items():
        if not environment.is_here(name):
            print(f"{name} is not here, which leaves out {needed_for}", flush=True)
    chosen = [step for step in steps(args.device, folder) if step.name in args.only]
    ended: list[Ended] = []
    with tempfile.TemporaryDirectory() as cache:
        for found in run_steps(chosen, folder, start + args.seconds, cache):
            ended.append(found)
            with (folder / "steps.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(found._asdict() | {"lines": found.lines[-20:]}) + "\n")
            print(f"{found.name}: {found.rows} rows in {found.seconds:.0f} s, {found.how}", flush=True)
            if found.how == INTERRUPTED:
                break
    show(page(ended, folder))
    return 130 if ended and ended[-1].how == INTERRUPTED else 1 if any(found.failed for found in ended) else 0


def run_steps(chosen: Sequence[Step], folder: Path, until: float, cache: str) -> Iterator[Ended]:
    """Run the steps in their order, each with its share of the time that is left until then.

    A step finds in the cache what earlier ones compiled, with the forms of products that XLA chose by timing them.
    """
    kept = {
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PLATFORMS": "",  # bounds come from the CPU, on a GPU too
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    for n, step in enumerate(chosen):
        left = until - time.monotonic()
        limit = left * step.share / sum(later.share for later in chosen[n:])
        variables = kept | {"JAX_DEFAULT_MATMUL_PRECISION": step.precision}
        yield run_step(step.name, step.command, variables, folder, limit)


def page(ended: Sequence[Ended], folder: Path) -> list[str | Table]:
    """The table of the steps, and the last lines of those that did not come to their end."""
    body = [[found.name, str(found.rows), f"{found.seconds:.0f}", found.how] for found in ended]
    cut = [found for found in ended if found.how != "done"]
    last = [
        f"{found.name}, {found.how}; its last lines:\n" + "\n".join(found.lines[-8:] or ["(none)"]) for found in cut
    ]
    failed = [found.name for found in ended if found.failed]
    words = f"{len(failed)} of {len(ended)} steps failed{': ' if failed else ''}{', '.join(failed)}. Results: {folder}"
    return [Table(("step", "rows", "seconds", "end"), body), *last, words]


def device_name(kind: str) -> str:
    """The name of the device that JAX computes on, asked in a process of its own: this one must not hold the GPU."""
    code = (
        "import sys; from benchmarks import environment as e; e.select_device(sys.argv[1]); "
        "print(e.describe('float32')['device'])"
    )
    try:
        asked = subprocess.run(
            [sys.executable, "-c", code, kind], cwd=environment.ROOT, capture_output=True, text=True, timeout=120
        )
    except subprocess.TimeoutExpired:
        raise environment.UsageError(f"JAX did not find the {kind} within 120 s") from None
    if asked.returncode:
        reason = asked.stderr.strip().rpartition("\n")[2] or f"exit status {asked.returncode}"
        raise environment.UsageError(reason.removeprefix("benchmarks.environment.UsageError: "))
    return asked.stdout.strip().rpartition("\n")[2]


def new_folder(kind: str, device: str) -> Path:
    """A folder named by the device and the time; that of a rehearsal is kept out of git."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return records.RESULTS / f"{'local-' if kind == 'cpu' else ''}gpu-{environment.slug(device)}-{stamp}"
