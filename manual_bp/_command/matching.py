"""The columns of a file that a model was trained on."""

from manual_bp._command import files
from manual_bp._command.data import TARGETS, target_column
from manual_bp._command.errors import InputError
from manual_bp._command.model import Model
from manual_bp._command.table import Table, some


def read(path: str, model: Model, targets: bool, target: str | None = None) -> Table:
    """The model's features, in its order, and the targets if they are wanted.

    Those of a .csv are found by name, or by number where the model was trained on an .npz; those of an .npz by number.
    """

    def choose(columns: list[str]) -> tuple[list[str], str | None]:
        if model.features is None:
            return _by_number(columns, model.network.sizes[0], targets, target)
        return _by_name(columns, model.features, model.target, targets, target)

    with files.about(path):
        table = files.read(path, choose, targets)
        n, expected = table.X.shape[1], model.network.sizes[0]
        if n != expected:
            raise InputError(f"X has {n} features; expected {expected}, as the model was trained on")
    return table


def _by_name(
    columns: list[str], features: list[str], trained_on: str | None, targets: bool, target: str | None
) -> tuple[list[str], str | None]:
    chosen = target or trained_on
    if targets and chosen not in columns:
        raise InputError(f"has no column {chosen!r} with the targets: name one with --target")
    missing = [name for name in features if name not in columns]
    if missing:
        raise InputError(f"has no column {some(missing)}; expected what the model was trained on: {some(features)}")
    extra = [name for name in columns if name not in (*features, chosen, trained_on)]
    if extra:
        raise InputError(f"has the column {some(extra)}, which the model was not trained on: leave it out")
    return features, chosen if targets else None


def _by_number(columns: list[str], n: int, targets: bool, target: str | None) -> tuple[list[str], str | None]:
    if targets:
        chosen = target_column(columns, target)
    else:
        chosen = next((name for name in TARGETS if name in columns), None)
    features = [name for name in columns if name != chosen]
    if len(features) != n:
        beside = "" if chosen is None else f" beside {chosen!r}"
        raise InputError(
            f"has {len(features)} columns{beside}; expected the {n} features that the model was trained on"
        )
    return features, chosen if targets else None
