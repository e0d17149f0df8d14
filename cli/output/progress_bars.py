"""Bars that say how far a long command is."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from models.progress_listener import ProgressListener


def progress_bars() -> Progress:
    """Bars on stderr, so that stdout holds the answer alone; only the last state where it is no terminal."""
    return Progress(
        TextColumn("{task.description:>15}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(show_speed=True),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        refresh_per_second=4,
    )


class Bar(ProgressListener):
    """One of them."""

    def __init__(self, progress: Progress, description: str, total: int | None = None) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total)

    def start(self, total: int) -> None:
        """Show how much there is to do."""
        self._progress.update(self._task, total=total)

    def advance(self, done: int) -> None:
        """Show that so much more is done."""
        self._progress.advance(self._task, done)
