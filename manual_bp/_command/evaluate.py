"""`python -m manual_bp evaluate`: how well a saved model does on examples whose targets are known."""

import argparse
import math

import jax.numpy as jnp
import numpy as np

import manual_bp as bp
from manual_bp._command import files, matching, targets
from manual_bp._command.confusion import confusion
from manual_bp._command.model import Model, outputs, scaled, trained
from manual_bp._command.say import say
from manual_bp._command.score import score, shown
from manual_bp._command.table import Table


def run(options: argparse.Namespace) -> None:
    model = trained(options.model)
    table = matching.read(options.data, model, targets=True, target=options.target)
    with files.about(options.data):
        Y, A = _targets(model, table), outputs(model, table)
    target = "" if table.target is None else f", target column {table.target!r}"
    say(f"{options.data}{target}: {Y.shape[-1]} examples")
    found = bp.evaluate(model.network, model.params, jnp.asarray(scaled(model, table)), jnp.asarray(Y))
    cost, accuracy = float(found.cost), None if found.metric is None else float(found.metric)
    of_all = shown(score(cost, accuracy, Y), model.classes is None)
    if model.outputs is not None:
        say(f"{of_all}, root mean squared error {math.sqrt(cost) * float(model.outputs.deviation):.6g}")
    if model.classes is not None:
        say(f"cost {cost:.4f}, {of_all}")
        say(confusion(Y, np.argmax(A, axis=0), model.classes))


def _targets(model: Model, table: Table) -> np.ndarray:
    """Class indices, or scaled values."""
    assert table.y is not None
    if model.outputs is not None:
        return model.outputs(targets.values(table.y, table.target_place))[None, :]
    assert model.classes is not None
    return targets.among(table.y, model.classes, table.target_place)
