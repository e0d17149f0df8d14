"""Reading a user's progress: from Redis where the record is, else from PostgreSQL, as one answer."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import BaseModel, Field

from config.shards import shard_for
from models.cold.reading import ProgressReader
from models.errors import DatabaseUnavailableError, StateUnavailableError
from models.hot.records import Records
from models.rules.calendar import moment, period_key
from models.rules.goals import Goal, Rulebook
from models.rules.operators import progress_of
from models.rules.rows import Row

log = structlog.get_logger()


class GoalProgress(BaseModel):
    """One goal as the user stands on it now."""

    challenge_id: str
    goal_id: str
    name: str
    period: str = Field(description="The current period of a daily goal, such as 2026-11-21; empty for other goals")
    progress: int | float
    target: int | float
    status: Literal["not_started", "in_progress", "completed"]
    completed_at: datetime | None
    rule_version: int | None = Field(
        description="The goal's version that made the row; for a goal not started, its current version, which is null "
        "only while PostgreSQL has not been reached since the receiver started"
    )


class UserProgress(BaseModel):
    """Every active goal of a user."""

    tenant_id: str
    user_id: str
    goals: list[GoalProgress]


@dataclass(frozen=True, slots=True)
class ProgressService:
    """Finds the newest state of a user's goals."""

    rulebook: Rulebook
    versions: Callable[[], Rulebook]
    """The same goals under their published versions.

    Raises DatabaseUnavailableError while they are not known.
    """
    records: Records
    reader: ProgressReader
    shards: int
    now_us: Callable[[], int]

    def progress(self, tenant_id: str, user_id: str) -> UserProgress:
        """A user's progress on every active goal, in the order of the challenges file.

        Raises:
            DatabaseUnavailableError: Redis does not have the user, and PostgreSQL did not answer.
        """
        now = self.now_us()
        rows = {(row.goal_id, row.period): row for row in self._rows(tenant_id, user_id, now)}
        versions = self._versions()
        goals = []
        for goal in self.rulebook.goals:
            period = period_key(goal.per, now)
            goals.append(_shown(goal, period, rows.get((goal.goal_id, period)), versions.get(goal.goal_id)))
        return UserProgress(tenant_id=tenant_id, user_id=user_id, goals=goals)

    def _rows(self, tenant_id: str, user_id: str, now_us: int) -> list[Row]:
        try:
            rows = self.records.read(shard_for(tenant_id, user_id, self.shards), tenant_id, user_id)
        except StateUnavailableError as error:
            log.warning("progress_read_without_redis", error=str(error))
            rows = None
        return self.reader.rows(tenant_id, user_id, now_us=now_us) if rows is None else rows

    def _versions(self) -> dict[str, int]:
        try:
            return {goal.goal_id: goal.version for goal in self.versions().goals}
        except DatabaseUnavailableError:
            return {}


def _shown(goal: Goal, period: str, row: Row | None, version: int | None) -> GoalProgress:
    if row is None:
        status: Literal["not_started", "in_progress", "completed"] = "not_started"
    else:
        status = "completed" if row.completed_at else "in_progress"
    progress = progress_of(row) if row else 0
    return GoalProgress(
        challenge_id=goal.challenge_id,
        goal_id=goal.goal_id,
        name=goal.name,
        period=period,
        progress=progress if isinstance(progress, int) else float(progress),
        target=int(goal.target) if goal.target == int(goal.target) else goal.target,
        status=status,
        completed_at=moment(row.completed_at) if row and row.completed_at else None,
        rule_version=row.rule_version if row else version,
    )


def progress_router(service: ProgressService) -> APIRouter:
    """``GET /v1/users/{user_id}/progress``. A user id may hold any printable character, '/' too."""
    router = APIRouter(tags=["progress"])

    @router.get("/v1/users/{user_id:path}/progress", summary="A user's progress on every active goal")
    def read_progress(
        user_id: Annotated[str, Path(min_length=1, max_length=256)],
        tenant_id: Annotated[str, Query(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "default",
    ) -> UserProgress:
        try:
            return service.progress(tenant_id, user_id)
        except DatabaseUnavailableError as error:
            raise HTTPException(503, "neither Redis nor PostgreSQL can say now", {"Retry-After": "1"}) from error

    return router
