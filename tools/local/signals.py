"""Ctrl-C and its kin: the first asks to stop, the second to stop at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(Exception):
    """A wait was ended because the user asked to stop; no fault."""


class Interrupts:
    """How often this process was asked to end."""

    def __init__(self) -> None:
        self._stop = Event()
        self._hurry = Event()

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Count signals while inside, instead of dying of them. Only the main thread may enter."""
        before = {number: signal.signal(number, self._count) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def ask(self) -> None:
        """Ask to stop, and once more to hurry."""
        (self._hurry if self._stop.is_set() else self._stop).set()

    @property
    def asked(self) -> bool:
        """Whether the run shall end."""
        return self._stop.is_set()

    def pause(self, seconds: float) -> None:
        """Sleep, or less where a stop is asked for.

        Raises:
            StoppedError: a stop has been asked for.
        """
        if self._stop.wait(seconds):
            raise StoppedError

    def linger(self, seconds: float) -> bool:
        """Sleep while stopping; whether there is still no hurry."""
        return not self._hurry.wait(seconds)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.ask()
