"""`python -m manual_bp train|predict|evaluate`."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence

import jax

import manual_bp as bp
from manual_bp._command import evaluate, options, predict, train
from manual_bp._command.errors import FULL, Failure, InputError

COMMANDS = {"train": train.run, "predict": predict.run, "evaluate": evaluate.run}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    chosen = options.parse(list(sys.argv[1:] if argv is None else argv))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal need not have all letters that names of classes have
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _on(chosen.device):
            COMMANDS[chosen.command](chosen)
        return 0
    except BrokenPipeError:
        # Whoever read the output has gone
        _discard_output()
        return 1
    except (InputError, bp.SavedModelError, bp.CheckpointError) as error:
        return _fail(f"error: {error}", 2)
    except Failure as error:
        return _fail(f"error: {error}", 1)
    except OSError as error:
        _discard_output()
        return _fail(f"error: {error.filename or 'output'}: {error.strerror or error}", 1 if error.errno in FULL else 2)
    except KeyboardInterrupt as interrupt:
        return _fail(": ".join(["interrupted", *map(str, interrupt.args)]), 130)


@contextlib.contextmanager
def _on(device: str | None) -> Iterator[None]:
    """Computes there, or where JAX would."""
    if device is None:
        yield
        return
    try:
        found = jax.devices(device)
    except RuntimeError:
        raise InputError(
            f"--device {device}: JAX finds no {device} here, only {jax.default_backend()}; for NVIDIA's GPUs: "
            "pip install 'manual_bp[cuda13]'"
        ) from None
    with jax.default_device(found[0]):
        yield


def _discard_output() -> None:
    """What is flushed at exit must not raise again."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, status: int) -> int:
    print(f"manual_bp: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
