"""A poller: a thread that repeats a call, whatever became of the one before."""

from collections.abc import Callable
from threading import Event, Thread

from models.errors import QuestlineError


class Poller:
    """Looks every ``interval`` seconds, from ``start`` until ``stop``."""

    def __init__(
        self,
        name: str,
        call: Callable[[], None],
        interval: float,
        *,
        failed: Callable[[QuestlineError], None],
        broke: Callable[[Exception], None],
    ) -> None:
        """``failed`` is told of an error of ours each time, ``broke`` of any other, when it is not the one before."""
        self._name, self._call, self._interval = name, call, interval
        self._failed, self._broke = failed, broke
        self._stop = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self, *, patience_s: float = 5) -> None:
        """End the thread; a look that hangs for longer is left to the end of the process."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=patience_s)

    def _run(self) -> None:
        known = ""
        while not self._stop.wait(self._interval):
            try:
                self._call()
            except QuestlineError as error:
                self._failed(error)
            except Exception as error:  # noqa: BLE001 - a fault of ours, which must not end the poller
                if str(error) != known:  # once, not every second
                    self._broke(error)
                known = str(error)
