"""Readiness: checks of dependencies, each made at most once a second.

Every check runs in a thread of its own. A server that hangs blocks that one thread, and a request for readiness waits
for a bounded time only.
"""

from collections.abc import Callable, Mapping
from threading import Event, Lock, Thread
from time import monotonic

import structlog

from models.errors import AWAY, NotReadyError, RetryableError

Check = Callable[[], None]
"""Returns when the dependency can be used, else raises a RetryableError."""

OK = "ok"
FRESH_SECONDS = 1.0
"""How long an answer counts."""
PATIENCE_SECONDS = 1.5
"""How long a check may take before the dependency counts as away."""

log = structlog.get_logger()


class Dependency:
    """One check, and its last answer. Safe to use from several threads."""

    def __init__(self, name: str, check: Check, clock: Callable[[], float] = monotonic) -> None:
        self._name, self._check, self._clock = name, check, clock
        self._lock = Lock()
        self._answered = Event()
        self._asked_at = float("-inf")
        self._answer = OK

    def ask(self) -> None:
        """Ask in the background, unless that is under way or was done a moment ago."""
        with self._lock:
            is_under_way = self._asked_at > float("-inf") and not self._answered.is_set()
            if is_under_way or self._clock() - self._asked_at < FRESH_SECONDS:
                return
            self._asked_at = self._clock()
            self._answered.clear()
        Thread(target=self._run, name=f"health-{self._name}", daemon=True).start()

    def answer(self) -> str:
        """``ok`` or what is wrong, as a public text; the details are in the log."""
        self._answered.wait(max(0.0, self._asked_at + PATIENCE_SECONDS - self._clock()))
        return self._answer if self._answered.is_set() else AWAY

    def _run(self) -> None:
        answer, details = AWAY, ""
        try:
            self._check()
            answer = OK
        except NotReadyError as error:
            answer, details = str(error), repr(error.__cause__) if error.__cause__ else ""
        except RetryableError as error:
            details = str(error)
        except Exception as error:  # noqa: BLE001 - whatever a server or we do wrong, the process is not ready
            answer, details = "cannot be checked", repr(error)
        self._note(answer, details)
        self._answered.set()

    def _note(self, answer: str, details: str) -> None:
        if answer != OK and self._answer == OK:
            log.warning("dependency_failing", dependency=self._name, answer=answer, error=details)
        elif answer == OK and self._answer != OK:
            log.info("dependency_recovered", dependency=self._name)
        self._answer = answer


class ReadinessProbe:
    """All that stands behind the process. Without what is ``needed`` no event can be accepted; the rest may be away."""

    def __init__(
        self, needed: Mapping[str, Check], useful: Mapping[str, Check], *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._needed = frozenset(needed)
        self._dependencies = {name: Dependency(name, check, clock) for name, check in {**needed, **useful}.items()}

    def answers(self) -> dict[str, str]:
        """``ok``, or what is wrong, by dependency."""
        for dependency in self._dependencies.values():
            dependency.ask()
        return {name: dependency.answer() for name, dependency in self._dependencies.items()}

    def can_accept(self, answers: Mapping[str, str]) -> bool:
        """Whether all that is needed answered well."""
        return all(answers[name] == OK for name in self._needed)

    def is_ready(self) -> bool:
        """Whether events can be accepted now."""
        return self.can_accept(self.answers())
