"""What the API says of a user's progress: the shapes, as OpenAPI describes them."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

Status = Literal["not_started", "in_progress", "completed"]
Number = int | float


class PartProgress(BaseModel):
    """One part of a composite goal: another goal, or a rule of its own."""

    goal_id: str | None = Field(description="The goal that the part is; null for a rule, and for a hidden goal")
    rule: str | None = Field(description="The rule that the part is, as an expression; null for a goal")
    progress: Number | None
    target: Number | None
    status: Status
    parts: list["PartProgress"] = Field(description="The parts of a part that is a composite rule")


class GoalProgress(BaseModel):
    """One goal as the user stands on it now."""

    challenge_id: str
    goal_id: str
    name: str = Field(description="'Secret goal' for a secret goal that is not complete")
    description: str | None = Field(description="null for a secret goal that is not complete")
    rule: str | None = Field(
        description="The rule as an expression; null for a secret goal that is not complete, and where it would name "
        "a hidden goal"
    )
    period: str = Field(
        description="The current period of a goal that has periods, such as 2026-11-21, 2026-W47 or 2026-11; empty "
        "for other goals"
    )
    progress: Number | None = Field(
        description="null for a secret goal that is not complete, and while there is no value to show"
    )
    target: Number | None = Field(description="null for a secret goal that is not complete")
    status: Status
    completed_at: datetime | None
    locked: bool = Field(description="Progress is gathered, but a prerequisite is not complete yet")
    prerequisites: list[str] = Field(description="The goals that must be complete; those hidden from the user left out")
    hidden: bool = Field(description="The goal is left out of answers until it is complete")
    secret: bool = Field(description="The goal is shown without name, text and numbers until it is complete")
    active_from: datetime | None = Field(description="Events before it do not count")
    active_until: datetime | None = Field(description="Events at it and after it do not count")
    parts: list[PartProgress] = Field(description="What a composite goal consists of; empty for other goals")
    rule_version: int | None = Field(
        description="The goal's version that made the row; for a goal not started, its current version, which is null "
        "only while PostgreSQL has not been reached since the receiver started"
    )


class UserProgress(BaseModel):
    """The goals of a user."""

    tenant_id: str
    user_id: str
    goals: list[GoalProgress]
