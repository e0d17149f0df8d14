"""supervisord with log files that may stand on a full disk.

Where a log cannot be written, supervisord prints that to its standard error, which stands on the same disk; that error
ended it, and with it everything. Here what cannot be written of a log is left out, until there is room again.
"""

from contextlib import suppress
from typing import Any

from supervisor import loggers, supervisord


class LogFile(loggers.RotatingFileHandler):  # type: ignore[misc]  # supervisor has no types
    """A log file that loses lines rather than ending its writer."""

    def emit(self, record: Any) -> None:
        """Write a line, and begin a new file where this one is long enough."""
        with suppress(OSError, ValueError):
            if self.stream.closed:  # a file could not be closed well, or its successor not be opened
                self.closed = True
                self.reopen()
            super().emit(record)

    def handleError(self) -> None:  # noqa: N802 - supervisor's name
        """Called for a line that could not be written."""


def main() -> None:
    """Run supervisord with such log files; ``supervisor`` makes every log by this name."""
    loggers.RotatingFileHandler = LogFile
    supervisord.main()


if __name__ == "__main__":
    main()
