"""Reading a user's progress: from Redis where the record is, else from PostgreSQL, as one answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import structlog
from fastapi import APIRouter, HTTPException, Query

from api.answers import UserProgress
from api.callers import Caller
from api.parameters import TenantId, UserId
from api.views import UserView, asks_attributes
from config.shards import shard_for
from models.attributes import Attributes
from models.cold.reading import ProgressReader
from models.errors import ConfigurationError, DatabaseUnavailableError, StateUnavailableError
from models.hot.records import Records
from models.rules.goals import Publications, Rulebook, only
from models.rules.rows import Row
from models.user_attributes import UserAttributes

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ProgressService:
    """Finds the newest state of a user's goals: one read of Redis, two where goals ask for the user's attributes."""

    rulebook: Rulebook
    """The challenges file, for as long as the publications are not known."""
    publications: Callable[[], Publications]
    """What is published. Raises DatabaseUnavailableError while that is not known, ConfigurationError where none of it
    can be read."""
    records: Records
    reader: ProgressReader
    attributes: UserAttributes
    shards: int
    now_us: Callable[[], int]

    def progress(self, tenant_id: str, user_id: str, *, reveal: bool = False) -> UserProgress:
        """A user's progress on the goals that hold now, in the order of the challenges file.

        With ``reveal``, hidden and secret goals are shown like any other.

        Raises:
            DatabaseUnavailableError: Redis does not have the user, and PostgreSQL did not answer.
        """
        now = self.now_us()
        publications, known = self._publications()
        asked = asks_attributes(publications.at(now).rulebook.goals)
        view = UserView(
            publications=publications,
            versioned=known,
            rows=self._rows(tenant_id, user_id, now),
            attributes=self._attributes(tenant_id, user_id) if asked else {},
            now=now,
            reveal=reveal,
        )
        return UserProgress(tenant_id=tenant_id, user_id=user_id, goals=list(view.goals()))

    def _rows(self, tenant_id: str, user_id: str, now_us: int) -> list[Row]:
        try:
            rows = self.records.read(shard_for(tenant_id, user_id, self.shards), tenant_id, user_id)
        except StateUnavailableError as error:
            log.warning("progress_read_without_redis", error=str(error))
            rows = None
        return self.reader.rows(tenant_id, user_id, now_us=now_us) if rows is None else rows

    def _attributes(self, tenant_id: str, user_id: str) -> Attributes:
        """What can be said without the attributes is worth more than no answer."""
        try:
            return self.attributes.of_user(tenant_id, user_id)
        except DatabaseUnavailableError as error:
            log.warning("progress_read_without_attributes", error=str(error))
            return {}

    def _publications(self) -> tuple[Publications, bool]:
        try:
            return self.publications(), True
        except (DatabaseUnavailableError, ConfigurationError):
            return only(self.rulebook), False


def progress_router(service: ProgressService) -> APIRouter:
    """``GET /v1/users/{user_id}/progress``."""
    router = APIRouter(tags=["progress"])

    @router.get("/v1/users/{user_id:path}/progress", summary="A user's progress on every active goal")
    def read_progress(
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
            return service.progress(tenant, user_id, reveal=reveal)
        except DatabaseUnavailableError as error:
            raise HTTPException(503, "neither Redis nor PostgreSQL can say now", {"Retry-After": "1"}) from error

    return router
