"""Reading a user's progress, from Redis or else from PostgreSQL."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Protocol

import structlog
from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from api.database_threads import DatabaseThreads
from api.parameters import TenantId, UserId
from api.progress.shapes import UserProgress
from api.progress.views import UserView, asks_attributes
from config.shards import shard_for
from models.attributes import Attributes
from models.database.progress import ProgressReader
from models.database.rules.publisher import Document
from models.errors import ConfigurationError, DatabaseUnavailableError, StateUnavailableError
from models.fairness import Turns
from models.rules.goals import Publications, only
from models.rules.rows import Row
from models.state.progress.records import Records
from models.stores.user_attributes import UserAttributes
from web.problems import ProblemError
from web.requests import Caller

log = structlog.get_logger()

REDIS_READS = 32
"""Reads of Redis at once, fewer than there are threads for them; tenants take turns."""
SIDE_PATIENCE_S = 0.5
"""How long an answer waits for what it can do without: Redis has the progress, PostgreSQL what is beside it."""


class PublishedRules(Protocol):
    """What is published, as far as this process knows."""

    def current(self) -> Publications:
        """The publications; only the first call may have to ask for them.

        Raises:
            DatabaseUnavailableError: they are not known yet, and PostgreSQL did not answer.
            ConfigurationError: none of them can be read.
        """
        ...

    def known(self) -> Publications | None:
        """The same without asking any server; None while they are not known."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a user at a moment; None is what PostgreSQL must be asked for."""

    tenant_id: str
    user_id: str
    now: int
    rows: list[Row] | None = None
    publications: Publications | None = None
    attributes: Attributes | None = None

    @property
    def is_whole(self) -> bool:
        """Whether PostgreSQL need not be asked."""
        return self.rows is not None and self.publications is not None and self.attributes is not None

    def asks_attributes(self, publications: Publications) -> bool:
        """Whether the answer depends on the user's attributes."""
        return asks_attributes(publications.at(self.now).rulebook.goals)


@dataclass(slots=True)
class ProgressService:
    """Finds the newest state of a user's goals: one read of Redis, two where goals ask for the user's attributes."""

    document: Document
    """The challenges file, for as long as the publications are not known."""
    rules: PublishedRules
    records: Records
    reader: ProgressReader
    attributes: UserAttributes
    shards: int
    """May be set while requests come."""
    now_us: Callable[[], int]
    """The clock, in microseconds."""
    turns: Turns = field(default_factory=lambda: Turns(REDIS_READS))

    def from_redis(self, tenant_id: str, user_id: str, *, reveal: bool) -> UserProgress | Found:
        """The answer, or what is known where PostgreSQL must be asked."""
        found = Found(tenant_id, user_id, self.now_us(), publications=self.rules.known())
        try:
            rows = self.records.read(shard_for(tenant_id, user_id, self.shards), tenant_id, user_id)
        except StateUnavailableError as error:
            log.warning("progress_read_without_redis", error=str(error))
            return found
        found = replace(found, rows=rows)
        if found.publications is not None:
            asked = found.asks_attributes(found.publications)
            found = replace(found, attributes=self.attributes.cached(tenant_id, user_id) if asked else {})
        return self.shown(found, reveal=reveal) if found.is_whole else found

    def completed(self, found: Found) -> Found:
        """The same with what only PostgreSQL knows.

        Raises:
            DatabaseUnavailableError: it did not answer, and has the progress.
        """
        if found.rows is None:
            found = replace(found, rows=self.reader.rows(found.tenant_id, found.user_id, now_us=found.now))
        try:
            publications = found.publications or self.rules.current()
        except (DatabaseUnavailableError, ConfigurationError):
            return found
        attributes = found.attributes
        if attributes is None:
            attributes = self._attributes(found) if found.asks_attributes(publications) else {}
        return replace(found, publications=publications, attributes=attributes)

    def shown(self, found: Found, *, reveal: bool) -> UserProgress:
        """The answer: the goals that hold now, in the order of the challenges file.

        What can be said without publications or attributes is worth more than none. With ``reveal``, hidden and secret
        goals are shown like any other.
        """
        view = UserView(
            publications=found.publications or only(self.document.rulebook),
            rows=found.rows or [],
            attributes=found.attributes or {},
            now=found.now,
            versioned=found.publications is not None,
            reveal=reveal,
        )
        return UserProgress(tenant_id=found.tenant_id, user_id=found.user_id, goals=list(view.goals()))

    def _attributes(self, found: Found) -> Attributes:
        try:
            return self.attributes.of_user(found.tenant_id, found.user_id)
        except DatabaseUnavailableError as error:
            log.warning("progress_read_without_attributes", error=str(error))
            return {}


async def answer(
    service: ProgressService, threads: DatabaseThreads, tenant_id: str, user_id: str, *, reveal: bool
) -> UserProgress:
    """A user's progress. With a record in Redis, PostgreSQL is waited for only for a moment.

    Raises:
        DatabaseUnavailableError: Redis does not have the user, and PostgreSQL did not answer.
    """
    async with service.turns.turn(tenant_id):
        found = await run_in_threadpool(service.from_redis, tenant_id, user_id, reveal=reveal)
    if isinstance(found, UserProgress):
        return found
    if found.rows is None:
        found = await threads.of(tenant_id, partial(service.completed, found))
    else:
        try:
            found = await asyncio.wait_for(threads.of(tenant_id, partial(service.completed, found)), SIDE_PATIENCE_S)
        except (TimeoutError, DatabaseUnavailableError) as error:
            log.warning("progress_read_without_database", error=str(error) or "no answer in time")
    return await run_in_threadpool(service.shown, found, reveal=reveal)


def progress_router(service: ProgressService, threads: DatabaseThreads) -> APIRouter:
    """``GET /v1/users/{user_id}/progress``."""
    router = APIRouter(tags=["progress"])

    @router.get("/v1/users/{user_id:path}/progress", summary="A user's progress on every active goal")
    async def read_progress(
        user_id: UserId,
        caller: Caller,
        tenant_id: TenantId = None,
        reveal: Annotated[
            bool, Query(description="With an admin key: show hidden and secret goals like any other.")
        ] = False,
    ) -> UserProgress:
        tenant = tenant_id or caller.own_tenant
        caller.require("admin" if reveal else "read", tenant)
        try:
            return await answer(service, threads, tenant, user_id, reveal=reveal)
        except DatabaseUnavailableError as error:
            raise ProblemError(503, "neither Redis nor PostgreSQL can say now", headers={"Retry-After": "1"}) from error

    return router
