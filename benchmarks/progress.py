"""The display while a benchmark runs: a bar on a terminal, and a line for each finished cell."""

import time


class CellProgress:
    """A bar over cells, on standard error. It is drawn only between rounds, so that it never disturbs a timed call."""

    def __init__(self, cells: int) -> None:
        from rich import progress
        from rich.console import Console

        console = Console(stderr=True)
        self.bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            console=console,
            auto_refresh=False,
            transient=True,
            disable=not console.is_terminal,
        )
        self.cells, self.done, self.drawn = cells, 0, 0.0
        self.task = self.bar.add_task("", total=cells)

    def start(self, label: str) -> None:
        self.bar.update(self.task, description=label, refresh=True)

    def tick(self, fraction: float) -> None:
        """Show that this fraction of the current cell is done."""
        if time.perf_counter() - self.drawn > 0.2:
            self.bar.update(self.task, completed=self.done + fraction, refresh=True)
            self.drawn = time.perf_counter()

    def finish(self, line: str) -> None:
        self.done += 1
        self.bar.update(self.task, completed=self.done)
        self.say(f"{self.done:{len(str(self.cells))}}/{self.cells}  {line}")

    def say(self, line: str) -> None:
        self.bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
