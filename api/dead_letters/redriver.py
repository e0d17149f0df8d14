"""Redrives dead letters; deletes each once its events have certainly arrived.

Events are ingested again under their own ids, so they count once however often they are redriven, and also
where they had been applied after all. A dead letter is deleted only after the journal has its events, or in the
transaction that writes its row; what is cut off between the two is redriven again without harm.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

from api.database_threads import DatabaseThreads
from api.dead_letters.shapes import RedriveReport, Refusal
from models.database.dead_letters.changes import DeadLetterChanges
from models.database.dead_letters.filter import DeadLetterFilter
from models.database.dead_letters.reader import DeadLetterHead, DeadLetterReader, StoredDeadLetter
from models.database.flush.refused_rows import ROW_KINDS, RowRewriter, read_refused
from models.errors import MalformedBatchError, MalformedDeadLetterError
from models.events import Event, unpack_unchecked

_ID_SHOWN = 256
_CONCURRENCY = 4
"""Dead letters at a time: no more than the receiver has connections to PostgreSQL to spare."""
_CAME_BACK = "it failed again while it was being redriven"


class Fault(Protocol):
    """Why ingest refuses an event."""

    @property
    def code(self) -> str:
        """A code that does not change."""
        ...

    @property
    def message(self) -> str:
        """A sentence."""
        ...


class TakeAgain(Protocol):
    """Ingests events that were accepted before; answers a fault, or None, for each of them."""

    def __call__(self, events: Sequence[Event], *, dry_run: bool) -> Awaitable[Sequence[Fault | None]]:
        """Return when the journal has the good ones; raises a RetryableError where it has not."""
        ...


@dataclass(frozen=True, slots=True)
class Redriver:
    """Redrives dead letters, a few at a time, which share their group commits, with no more of them in memory."""

    reingest: TakeAgain
    reader: DeadLetterReader
    changes: DeadLetterChanges
    rewriter: RowRewriter
    threads: DatabaseThreads

    async def redrive(self, wanted: DeadLetterFilter, *, after: int, limit: int, dry_run: bool) -> RedriveReport:
        """Redrive dead letters with greater ids than ``after``, the oldest first; with ``dry_run`` only look at them.

        Raises:
            RetryableError: PostgreSQL or Redis did not answer, or the journal is full; the dead letters before it are
                done.
        """
        report = RedriveReport()
        heads = await self.threads(self.reader.oldest, wanted, after=after, limit=limit)
        for start in range(0, len(heads), _CONCURRENCY):
            calls = [self._one(head, report, dry_run=dry_run) for head in heads[start : start + _CONCURRENCY]]
            # All of them end before an error is raised: nothing goes on behind an answer.
            for outcome in await asyncio.gather(*calls, return_exceptions=True):
                if outcome is not None:
                    raise outcome
        last = heads[-1].id if heads else after
        report.left = await self.threads(self.reader.count, wanted, after=last)
        report.next = last if report.left else None
        report.refused.sort(key=lambda refusal: refusal.id)
        return report

    async def _one(self, head: DeadLetterHead, report: RedriveReport, *, dry_run: bool) -> None:
        dead_letter = await self.threads(self.reader.dead_letter, head.id)
        if dead_letter is None:  # another request was faster
            return
        if head.kind == "batch":
            refusal = await self._batch(dead_letter, dry_run=dry_run)
        elif head.kind in ROW_KINDS:
            refusal = await self.threads(self._row, dead_letter, dry_run=dry_run)
        else:
            report.skipped += 1
            return
        if refusal is None:
            report.redriven += 1
        else:
            report.refused.append(refusal)

    async def _batch(self, dead_letter: StoredDeadLetter, *, dry_run: bool) -> Refusal | None:
        head = dead_letter.head
        try:
            events = unpack_unchecked(dead_letter.raw)
        except MalformedBatchError as error:
            return Refusal(id=head.id, code="malformed_batch", reason=str(error))
        faults = await self.reingest(events, dry_run=dry_run)
        bad = [(event, fault) for event, fault in zip(events, faults, strict=True) if fault is not None]
        if bad:
            return await self._keep(head, bad, len(events), dry_run=dry_run)
        if dry_run or await self.threads(self.changes.resolve, head):
            return None
        # Deleted by another request meanwhile, or one attempt older than what was redriven.
        came_back = await self.threads(self.reader.dead_letter, head.id)
        return Refusal(id=head.id, code="failed_again", reason=_CAME_BACK) if came_back else None

    async def _keep(
        self, head: DeadLetterHead, bad: Sequence[tuple[Event, Fault]], total: int, *, dry_run: bool
    ) -> Refusal:
        """Leave the dead letter with the events that were refused."""
        if not dry_run and len(bad) < total:
            await self.threads(self.changes.narrow, head, [event for event, _ in bad])
        first, fault = bad[0]
        reason = f"{len(bad)} of {total} events, the first {str(first.event_id)[:_ID_SHOWN]}: {fault.message}"
        return Refusal(id=head.id, code=fault.code, reason=reason)

    def _row(self, dead_letter: StoredDeadLetter, *, dry_run: bool) -> Refusal | None:
        head = dead_letter.head
        try:
            if dry_run:
                read_refused(head.kind, dead_letter.raw)
                return None
            words = self.rewriter.rewrite(dead_letter)
        except MalformedDeadLetterError as error:
            return Refusal(id=head.id, code="malformed_row", reason=str(error))
        return None if words is None else Refusal(id=head.id, code="refused_by_postgresql", reason=words)
