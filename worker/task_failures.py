"""Task failure handlers: note failed tasks and killed processes as dead letters.

Celery tells of both by signals: of an exception in the process that had the task, of a lost process in the main one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals

from config.settings import Settings
from models.dead_letter_reasons import Reason
from models.errors import StateUnavailableError
from models.state.connection import connect_state
from models.state.queue.attempts import Attempts
from models.state.queue.batches import TakenBatch
from models.state.queue.journal import Journal
from models.state.queue.undeliverable import UndeliverableMessage, UndeliverableMessages
from tasks.apply.applier import ShardWork
from tasks.definitions import APPLY_EVENTS
from worker.parts import make_journal

PATIENCE = 2.0
"""Seconds: the main process must not hang by this."""
_LOST = (WorkerLostError, TimeLimitExceeded)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TaskFailureHandlers:
    """Notes what became of tasks that did not end well."""

    journal: Journal
    attempts: Attempts
    undeliverable: UndeliverableMessages

    def connect(self) -> None:
        """Listen to Celery's signals."""
        signals.task_failure.connect(self._failed, weak=False)

    def _failed(self, sender: Any, exception: BaseException, args: Any, kwargs: Any, einfo: Any, **_newer: Any) -> None:
        traceback = str(getattr(einfo, "traceback", "") or "")
        try:
            work = _work_of(args) if sender.name == APPLY_EVENTS else None
            if work is not None:
                self._note_batches(work, exception, traceback)
            else:
                self._set_aside(sender.name, args, kwargs, exception, traceback)
        except StateUnavailableError as unavailable:
            log.warning("failure_not_noted", task=sender.name, error=str(unavailable), cause=repr(exception))

    def _note_batches(self, work: Sequence[ShardWork], error: BaseException, traceback: str) -> None:
        """Note the cause with a batch that was alone; of several nobody knows which one it was.

        Their streams give all of them again: at once, where this was the first time.
        """
        killed = isinstance(error, _LOST)
        batches = [(shard, batch) for shard, found in work for batch in found]
        if len(batches) == 1:
            [(shard, batch)] = batches
            self.attempts.note(shard, batch.batch_id, error, traceback=traceback, killed=killed)
        if killed:
            self.journal.give_back({shard: [batch.batch_id for batch in found] for shard, found in work})

    def _set_aside(self, task: str, args: Any, kwargs: Any, error: BaseException, traceback: str) -> None:
        reason = Reason.WORKER_KILLED if isinstance(error, _LOST) else Reason.TASK_FAILED
        raw = f"{task}{tuple(args)!r} {kwargs!r}".encode()  # a text: Celery tells no more of the message here
        self.undeliverable.add(
            UndeliverableMessage(reason, str(error), raw, None, task, type(error).__name__, traceback)
        )


def _work_of(args: Sequence[Any]) -> list[ShardWork] | None:
    """What a message of ours brought; a stray one may bring anything."""
    try:
        work = [ShardWork(shard, [TakenBatch(*batch) for batch in batches]) for shard, batches in args[0]]
    except (TypeError, ValueError, LookupError):
        return None
    kinds = {(type(shard), type(batch.batch_id), type(batch.packed)) for shard, found in work for batch in found}
    return work if kinds == {(int, str, bytes)} else None


def watch_task_failures(settings: Settings) -> None:
    """Note the failures of this worker's tasks; contacts no server before the first."""
    state = connect_state(settings.state, socket_timeout=PATIENCE)
    broker = connect_state(settings.broker, socket_timeout=PATIENCE)
    TaskFailureHandlers(make_journal(settings, state), Attempts(state), UndeliverableMessages(broker)).connect()
