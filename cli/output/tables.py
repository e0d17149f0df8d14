"""Tables for people, on a terminal that takes no orders from what stands in them."""

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

from cli.output.text import escaped


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
