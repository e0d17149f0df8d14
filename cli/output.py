"""Output of commands: safe text, tables, times and progress bars."""

import json
import re
from datetime import datetime
from typing import Any
from unicodedata import category

import typer
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.segment import Segment

from models.progress_listener import ProgressListener

_CANDIDATES = re.compile(r"[^\x20-\x7e\n\t]")
_LEFT_BY_JSON = re.compile(r"[^\x00-\x7e]")
# Controls; formats, such as those that turn the direction of a text or have no width; halves of surrogate pairs; and
# separators of lines.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Dead letters and marks that nothing is shown of. U+FE0F stays: it makes a sign an emoji.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0e\uffa0\U000e0100-\U000e01ef]")
_TWO_DIGITS, _FOUR_DIGITS = 0xFF, 0xFFFF


def escaped(text: str) -> str:
    """The text with every control and invisible character but newline and tab spelled by its hexadecimal number."""
    return _CANDIDATES.sub(lambda found: _spelled(found[0]) if _is_unseen(found[0]) else found[0], text)


def json_text(data: Any, **options: Any) -> str:
    """The data as JSON with all control and invisible characters escaped; other characters stay readable."""
    # What JSON leaves as it is can only stand inside its strings, where an escape means the same.
    text = json.dumps(data, ensure_ascii=False, **options)
    return _LEFT_BY_JSON.sub(lambda found: json.dumps(found[0])[1:-1] if _is_unseen(found[0]) else found[0], text)


def _is_unseen(character: str) -> bool:
    return category(character) in _UNSEEN or _BLANK.match(character) is not None


def _spelled(character: str) -> str:
    number = ord(character)
    if number <= _TWO_DIGITS:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= _FOUR_DIGITS else f"\\U{number:08x}"


class Plain:
    """Shows what it is given with all control characters spelled."""

    def __init__(self, shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Rich's own colours come after this, so they are no part of the text."""
        for text, style, control in console.render(self._shown, options):
            yield Segment(text if control else escaped(text), style, control)


def print_table(shown: RenderableType) -> None:
    """Print a table on standard output, as wide as the terminal."""
    Console().print(Plain(shown))


def read_datetime(text: str, option: str) -> datetime:
    """A time such as ``2026-12-01T00:00:00Z``; ``option`` is whose value it is.

    Raises:
        typer.BadParameter: it is no ISO 8601 date and time, or has no offset.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not an ISO 8601 date and time", param_hint=option) from error
    if at.tzinfo is None:
        raise typer.BadParameter(f"{text!r} needs an offset, such as Z or +01:00", param_hint=option)
    return at


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
    """One bar."""

    def __init__(self, progress: Progress, description: str, total: int | None = None) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total)

    def start(self, total: int) -> None:
        """Show how much there is to do."""
        self._progress.update(self._task, total=total)

    def advance(self, done: int) -> None:
        """Show that so much more is done."""
        self._progress.advance(self._task, done)
