"""Whether each event was judged by the rules of its time (promise P14).

A replay goes by what the worker knew, so it agrees with a worker that knew too little. This looks at what the worker
should have known: every publication that was made before the event was applied.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from models.database.event_log import Logged, PublicationTime

MARGIN_US = 2_000_000
"""By so much earlier a publication must have been made than an event was applied, to count as known: these are times of
two servers, and of a transaction's begin."""
SHOWN = 100
"""Events that a report names; more are counted."""


class LateJudgement(NamedTuple):
    """An event that was judged by rules older than those of its time."""

    tenant_id: str
    user_id: str
    event_id: str
    occurred_at: int
    found: int
    """The newest revision that its worker knew."""
    expected: int
    """The one that held when it happened, and had been published."""


@dataclass(slots=True)
class Judgements:
    """Those found so far."""

    publications: Sequence[PublicationTime] = ()
    """In the order of their revisions, which is that of ``active_from``, too."""
    keep_all: bool = False
    """Keep every one, for a repair; else the first ``SHOWN``."""
    count: int = 0
    found: list[LateJudgement] = field(default_factory=list)

    def watch(self, log: Iterable[Logged]) -> Iterator[Logged]:
        """The log as it is; notes what it holds on its way."""
        starts = [item.active_from for item in self.publications]
        for logged in log:
            expected = self._expected(logged, bisect_right(starts, logged.event.occurred_at))
            if expected is not None:
                self._note(logged, expected)
            yield logged

    def _expected(self, logged: Logged, held: int) -> int | None:
        """The revision that should have been known, where that is newer than what was."""
        if logged.revision is None:  # the first release noted none
            return None
        for item in reversed(self.publications[:held]):
            if item.revision <= logged.revision:
                return None
            if item.published_at + MARGIN_US < logged.applied_at:
                return item.revision
        return None

    def _note(self, logged: Logged, expected: int) -> None:
        self.count += 1
        if self.keep_all or len(self.found) < SHOWN:
            event = logged.event
            self.found.append(
                LateJudgement(
                    event.tenant_id, event.user_id, event.event_id, event.occurred_at, logged.revision or 0, expected
                )
            )
