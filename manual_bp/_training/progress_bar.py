"""A progress bar that counts epochs."""

import contextlib
from collections.abc import Callable, Iterator

from manual_bp._training.history import History


@contextlib.contextmanager
def progress_bar(epochs: int, done: int, shown: bool) -> Iterator[Callable[[History], None]]:
    """Yields the function that moves the bar to the last epoch of a history; without a bar it does nothing."""
    if not shown:
        yield lambda history: None
        return
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ModuleNotFoundError:
        raise ModuleNotFoundError("progress needs rich: pip install 'manual_bp[train]'") from None
    last_values = TextColumn("{task.fields[last]}")
    with Progress(TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn(), last_values) as bar:
        task = bar.add_task("", total=epochs, completed=done, last="")

        def show(history: History) -> None:
            shown = {"cost": history.cost, "validation": history.validation_cost, "metric": history.validation_metric}
            last = {name: values[-1] for name, values in shown.items()}
            text = "  ".join(f"{name} {value:.4g}" for name, value in last.items() if value is not None)
            bar.update(task, completed=len(history), last=text)

        yield show
