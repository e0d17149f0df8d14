"""Task failure handlers: note failed tasks and killed processes as dead letters.

Celery tells of both by signals: of an exception in the process that had the task, of a lost process in the main one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals

from config.settings import Settings
from models.dead_letter_reasons import Reason
from models.errors import StateUnavailableError
from models.failpoints import now_us
from models.state.connection import connect_state
from models.state.queue.attempts import Tries
from models.state.queue.batches import Batch
from models.state.queue.journal import Journal
from models.state.queue.undeliverable import Poison, PoisonList
from tasks.definitions import APPLY_EVENTS
from worker.wiring import make_journal

PATIENCE = 2.0
"""Seconds: the main process must not hang by this."""
TAKEN_BACK = 5
"""Times that a batch which the journal does not have is journaled again."""
_LOST = (WorkerLostError, TimeLimitExceeded)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TaskFailureHandlers:
    """Notes what became of tasks that did not end well."""

    journal: Journal
    tries: Tries
    poison: PoisonList
    now_us: Callable[[], int]

    def connect(self) -> None:
        """Listen to Celery's signals."""
        signals.task_retry.connect(self._tried_again, weak=False)
        signals.task_failure.connect(self._failed, weak=False)

    def _tried_again(self, sender: Any, request: Any, reason: Any, **_newer: Any) -> None:
        if sender.name == APPLY_EVENTS and isinstance(reason.exc, _LOST):
            self._note(sender.name, request.args, request.kwargs, reason.exc, "")

    def _failed(self, sender: Any, exception: BaseException, args: Any, kwargs: Any, einfo: Any, **_newer: Any) -> None:
        self._note(sender.name, args, kwargs, exception, str(getattr(einfo, "traceback", "") or ""))

    def _note(self, task: str, args: Sequence[Any], kwargs: Any, error: BaseException, traceback: str) -> None:
        killed = isinstance(error, _LOST)
        try:
            batch = _batch_of(args) if task == APPLY_EVENTS else None
            if batch is not None and (self._is_ours(batch) or (killed and self._take_back(batch))):
                self.tries.note(batch.shard, batch.batch_id, error, traceback=traceback, killed=killed)
                return
            reason = Reason.WORKER_KILLED if killed else Reason.TASK_FAILED
            raw = f"{task}{tuple(args)!r} {kwargs!r}".encode()  # a text: Celery tells no more of the message here
            poison = Poison(reason, str(error), raw, None, task, type(error).__name__, traceback)
            self.poison.add(poison)
        except StateUnavailableError as unavailable:
            log.warning("failure_not_noted", task=task, error=str(unavailable), cause=repr(error))

    def _is_ours(self, batch: Batch) -> bool:
        """Whether the sweep looks after a batch, or has done with it; else its message was the last to hold it."""
        known = self.tries.of(batch.shard, [batch.batch_id])[0]
        return known.tries > 0 or self.journal.has(batch.shard, batch.batch_id)

    def _take_back(self, batch: Batch) -> bool:
        """Journal a batch again that the journal does not have; tells whether it was done.

        It was applied before its process was killed, which its events' ids will tell, or Redis has lost it: then its
        message was the last to hold it. Not for ever, whatever it is that always ends so.
        """
        if self.tries.of(batch.shard, [batch.batch_id])[0].killed >= TAKEN_BACK:
            return False
        return not self.journal.append([batch], self.now_us() // 1000).full


def _batch_of(args: Sequence[Any]) -> Batch | None:
    """The batch of a message; a stray one may bring anything."""
    match args:
        case [int(shard), str(batch_id), bytes(packed), *_]:
            return Batch(shard, batch_id, packed)
    return None


def watch_task_failures(settings: Settings) -> None:
    """Note the failures of this worker's tasks; contacts no server before the first."""
    state = connect_state(settings.state, socket_timeout=PATIENCE)
    broker = connect_state(settings.broker, socket_timeout=PATIENCE)
    TaskFailureHandlers(make_journal(settings, state), Tries(state), PoisonList(broker), now_us).connect()
