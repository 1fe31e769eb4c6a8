"""The directory of a training: the model, and checkpoints beside it."""

import contextlib
import dataclasses
import os
import shlex
from collections.abc import Iterator, Sequence

from manual_bp._command.errors import InputError, cannot_write
from manual_bp._command.model import Model, load, save
from manual_bp._command.say import say
from manual_bp._training.checkpoints import Checkpoints

# Another value of these would train on other examples; one of those only goes on in another way, with a note
SAME = {
    "data": "the same --data and --target",
    "seed": "the same --seed",
    "validation": "--patience, or not, as before",
}
NOTED = ("batch_size", "learning_rate", "l2", "dropout")


def checkpoints(out: str) -> str:
    return os.path.join(out, "checkpoints")


def begin(out: str, model: Model, resume: bool) -> None:
    """Makes the directory of a training that begins, with a model that is not trained yet; or finds it, to go on."""
    try:
        kept = Checkpoints(checkpoints(out))
    except ImportError as error:
        raise InputError(f"--out: {error}") from None
    if not (os.path.isdir(out) and os.listdir(out)):
        if resume:
            say(f"nothing to resume in {out}: training starts anew")
        _save(out, model)
        return
    if not resume:
        raise InputError(f"{out} is not empty: give another --out, or --resume to go on with a training that is there")
    _agree(out, load(out), model)
    last = kept.latest()
    say(
        f"resuming from the start: no checkpoint in {out} yet" if last is None else f"resuming after epoch {last.epoch}"
    )


def _agree(out: str, before: Model, now: Model) -> None:
    if now.network != before.network:
        sizes, expected = ("-".join(map(str, model.network.sizes)) for model in (now, before))
        raise InputError(
            f"{out} has a network {expected}, and this is {sizes}: give the same --hidden, or another --out"
        )
    for name, what in SAME.items():
        if now.training[name] != before.training.get(name):
            raise InputError(f"{out} was trained with other options: give {what}, or another --out")
    for name in NOTED:
        value, was = now.training[name], before.training.get(name)
        if value != was:
            say(f"note: --{name.replace('_', '-')} is {value:g} from here on; it was {was:g} before")


def end(out: str, model: Model, stopped: str) -> None:
    """Saves the trained model."""
    _save(out, dataclasses.replace(model, training={**model.training, "stopped": stopped}))


def _save(out: str, model: Model) -> None:
    try:
        save(out, model)
    except OSError as error:
        raise cannot_write(out, error) from None


@contextlib.contextmanager
def kept(out: str, argv: Sequence[str]) -> Iterator[None]:
    """Says how to take up a training that is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        last = Checkpoints(checkpoints(out)).latest()
        where = (
            "before the first checkpoint" if last is None else f"the last checkpoint in {out} is of epoch {last.epoch}"
        )
        again = shlex.join([*argv, *([] if "--resume" in argv else ["--resume"])])
        raise KeyboardInterrupt(f"{where}; to go on: python -m manual_bp {again}") from None
