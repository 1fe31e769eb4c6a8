"""bp.fit as the command runs it: a line for every tenth of the epochs, and one for whatever goes wrong."""

import argparse
import importlib.util
import sys
import warnings

import optax

import manual_bp as bp
from manual_bp._command import interrupt
from manual_bp._command.directory import checkpoints
from manual_bp._command.errors import Failure, InputError
from manual_bp._command.examples import Examples
from manual_bp._command.say import say
from manual_bp._command.score import scores, shown


def fit(
    network: bp.Network,
    examples: Examples,
    optimizer: optax.GradientTransformation,
    state: bp.TrainState,
    options: argparse.Namespace,
) -> bp.FitResult:
    """The training, to its end or to the last step that is finite.

    Raises:
        Failure: a checkpoint could not be written.
        InputError: the last checkpoint can't be read.
        KeyboardInterrupt: Ctrl-C was pressed; there is a checkpoint of the epoch then.
    """
    epochs, every = options.epochs, -(-options.epochs // 10)
    watched = "test" if options.patience is None else "validation"
    validation = examples.validation
    trained = False

    def line(epoch: bp.Epoch) -> bool:
        nonlocal trained
        trained, i = True, epoch.number
        if options.seeds == 1 and (i % every == 0 or i == epochs):
            result = shown(scores(epoch.history, validation.Y)[-1], examples.outputs is not None)
            say(f"  epoch {i:{len(str(epochs))}} of {epochs}: cost {epoch.history.cost[-1]:.4f}, {watched} {result}")
        return interrupted()

    try:
        with interrupt.once() as interrupted, warnings.catch_warnings():
            # Of a step that is not finite; the command has its own words for it
            warnings.simplefilter("ignore", RuntimeWarning)
            result = bp.fit(
                network,
                *examples.training,
                optimizer=optimizer,
                state=state,
                batch_size=options.batch_size,
                epochs=epochs,
                l2=options.l2,
                dropout=options.dropout,
                validation_data=validation,
                early_stopping=options.patience and bp.EarlyStopping(options.patience),
                callbacks=[line],
                progress=options.seeds == 1 and sys.stdout.isatty() and importlib.util.find_spec("rich") is not None,
                checkpoint=options.out and checkpoints(options.out),
                checkpoint_every=every,
                resume=options.resume,
            )
    except bp.CheckpointError as error:
        raise (Failure if trained else InputError)(str(error)) from None
    if result.stopped == "callback":
        raise KeyboardInterrupt
    return result
