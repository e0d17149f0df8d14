"""Dead letters over HTTP, for operators: look at them, redrive or discard them.

A caller of one tenant sees that tenant's dead letters; those without a tenant are for callers of all tenants only.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import structlog
from fastapi import APIRouter, Depends, Path, Query

from api.database_threads import DatabaseThreads
from api.dead_letters.shapes import (
    DeadLetterDetails,
    DeadLetterId,
    DeadLetterPage,
    DeadLetterSelection,
    DeadLetterSummary,
    DiscardReport,
    Group,
    Groups,
    RedriveReport,
    Wanted,
    WantedPage,
)
from models.access.callers import ALL_TENANTS
from models.database.dead_letters.changes import DeadLetterChanges
from models.database.dead_letters.filter import DeadLetterFilter
from models.database.dead_letters.reader import DeadLetterReader
from web.problems import ProblemError
from web.requests import Caller

_ANSWERS: dict[int | str, dict[str, Any]] = {
    403: {"description": "The caller is no operator of that tenant."},
    503: {"description": "PostgreSQL or Redis did not answer, or a shard is full; what was done is done, try again."},
}
_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "There is no such dead letter for this caller."}}

log = structlog.get_logger()


class Redrive(Protocol):
    """Sends dead letters their way once more, up to ``limit`` of them, the oldest first."""

    def __call__(self, wanted: DeadLetterFilter, *, after: int, limit: int, dry_run: bool) -> Awaitable[RedriveReport]:
        """What became of them; raises a RetryableError where that had to stop, with what was done done."""
        ...


@dataclass(frozen=True, slots=True)
class DeadLetterService:
    """What operators do with dead letters."""

    reader: DeadLetterReader
    changes: DeadLetterChanges

    def discard(self, wanted: DeadLetterFilter, *, after: int, limit: int, dry_run: bool) -> DiscardReport:
        """Delete dead letters, up to ``limit`` of them, the oldest first; with ``dry_run`` only count them.

        Raises:
            DatabaseUnavailableError: PostgreSQL did not answer.
        """
        ids = [head.id for head in self.reader.oldest(wanted, after=after, limit=limit)]
        last = ids[-1] if ids else after
        left = self.reader.count(wanted, after=last)
        discarded = len(ids) if dry_run else self.changes.discard(ids)
        return DiscardReport(discarded=discarded, left=left, next=last if left else None)


def dead_letters_router(service: DeadLetterService, redrive: Redrive, threads: DatabaseThreads) -> APIRouter:
    """``/v1/dead-letters`` and what is below it."""
    router = APIRouter(tags=["dead letters"], dependencies=[Depends(_operator)], responses=_ANSWERS)
    _add_reading(router, service.reader, threads)

    @router.post("/v1/dead-letters/redrive", summary="Send dead letters their way once more")
    async def redrive_dead_letters(body: DeadLetterSelection, caller: Caller) -> RedriveReport:
        """Events enter the journal with their ids, so none counts twice; rows that PostgreSQL refused are written."""
        wanted = body.as_filter(_tenant(caller, body.tenant_id))
        report = await redrive(wanted, after=body.cursor or 0, limit=body.limit, dry_run=body.dry_run)
        if not body.dry_run:
            log.info("dead_letters_redriven", redriven=report.redriven, refused=len(report.refused), key=caller.key_id)
        return report

    @router.post("/v1/dead-letters/discard", summary="Delete dead letters")
    async def discard_dead_letters(body: DeadLetterSelection, caller: Caller) -> DiscardReport:
        """What they hold is gone for good: export them first."""
        wanted = body.as_filter(_tenant(caller, body.tenant_id))
        report = await threads(service.discard, wanted, after=body.cursor or 0, limit=body.limit, dry_run=body.dry_run)
        if not body.dry_run:
            log.warning("dead_letters_discarded", letters=report.discarded, key=caller.key_id)
        return report

    return router


def _add_reading(router: APIRouter, reader: DeadLetterReader, threads: DatabaseThreads) -> None:
    @router.get("/v1/dead-letters", summary="Dead letters, the newest first")
    async def list_dead_letters(asked: Annotated[WantedPage, Query()], caller: Caller) -> DeadLetterPage:
        wanted = asked.as_filter(_tenant(caller, asked.tenant_id))
        found = await threads(reader.newest, wanted, before=asked.cursor, limit=asked.limit)
        following = found[-1].id if len(found) == asked.limit else None
        return DeadLetterPage(letters=[DeadLetterSummary.of(head) for head in found], next=following)

    @router.get("/v1/dead-letters/groups", summary="Dead letters by their cause")
    async def list_groups(asked: Annotated[Wanted, Query()], caller: Caller) -> Groups:
        found = await threads(reader.groups, asked.as_filter(_tenant(caller, asked.tenant_id)))
        return Groups(groups=[Group.of(group) for group in found])

    @router.get(
        "/v1/dead-letters/{letter_id}", summary="One dead letter with all that is known of it", responses=_UNKNOWN
    )
    async def show_dead_letter(letter_id: Annotated[DeadLetterId, Path()], caller: Caller) -> DeadLetterDetails:
        found = await threads(reader.dead_letter, letter_id, DeadLetterFilter(tenant_id=_tenant(caller, None)))
        if found is None:
            raise ProblemError(404, "there is no such dead letter")
        return DeadLetterDetails.of_stored(found)


def _operator(caller: Caller) -> None:
    """Refuse a caller that is no operator before its parameters are validated.

    Raises:
        AccessDeniedError: the caller's key is for something else.
    """
    caller.require("admin", caller.tenant_id)


def _tenant(caller: Caller, asked: str | None) -> str | None:
    """The tenant whose dead letters the caller sees; None for those of all tenants and of none.

    Raises:
        AccessDeniedError: the caller is no operator of the tenant asked for.
    """
    caller.require("admin", asked or caller.tenant_id)
    return asked or (None if caller.tenant_id == ALL_TENANTS else caller.tenant_id)
