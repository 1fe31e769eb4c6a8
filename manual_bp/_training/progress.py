"""A bar that moves with the epochs."""

import contextlib
from collections.abc import Callable, Iterator

from manual_bp._training.history import History


@contextlib.contextmanager
def bar(epochs: int, done: int, shown: bool) -> Iterator[Callable[[History], None]]:
    """A function that moves the bar to the history's epochs; one that does nothing if it is not to be shown."""
    if not shown:
        yield lambda history: None
        return
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ModuleNotFoundError:
        raise ModuleNotFoundError("progress needs rich: pip install 'manual_bp[train]'") from None
    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}"),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("", total=epochs, completed=done, values="")

        def show(history: History) -> None:
            columns = {"cost": history.cost, "validation": history.validation_cost, "metric": history.validation_metric}
            values = {name: column[-1] for name, column in columns.items() if column[-1] is not None}
            text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
            progress.update(task, completed=len(history), values=text)

        yield show
