"""The shape of a challenges file: which keys there are and what each may hold."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, SkipValidation, Tag, ValidationInfo, field_validator

from models.rules.challenge_file.faults import Fault, shape_reason
from models.rules.challenge_file.json_text import walk
from models.rules.challenge_file.rule_shapes import RuleShape
from models.rules.forms.values import (
    Id,
    Name,
    Positive,
    Segments,
    Strict,
    Text,
    Timestamp,
    exact_number,
    storable,
)
from models.rules.forms.words import named
from models.rules.goals import Policy

GoalType = Literal["absolute", "increment", "daily"]

_MAX_REWARD_DEPTH = 16


def _plain_data(reward: dict[str, Any]) -> dict[str, Any]:
    """A reward is kept as it stands, so it must be what JSON and PostgreSQL can give back unchanged."""
    for path, part in walk(reward):
        where = ".".join(str(step) for step in path)
        try:
            if len(path) > _MAX_REWARD_DEPTH:
                raise ValueError(f"is nested deeper than {_MAX_REWARD_DEPTH} levels")  # noqa: TRY301 - gets its location below
            if isinstance(part, str):
                storable(part)
            elif isinstance(part, dict):
                storable("".join(part))
            elif isinstance(part, int | float) and not isinstance(part, bool):
                exact_number(part)
        except ValueError as error:
            raise ValueError(f"at {named(where)}: {error}" if path else str(error)) from error
    return reward


class RequirementShape(Strict):
    """What a goal of one of the three types needs."""

    target: Positive


class _Goal(Strict):
    id: Id
    name: Name = ""
    description: Text = ""
    reward: Annotated[dict[str, Any], AfterValidator(_plain_data)] = Field(default_factory=dict)
    prerequisites: list[Id] = Field(default_factory=list)
    """Goals without which this one gathers progress but does not complete."""
    active_from: Timestamp | None = None
    """Events before this time do not count."""
    active_until: Timestamp | None = None
    """Events at this time or later do not count."""
    segments: Segments = Field(default_factory=dict)
    """User attributes, each with the value or values of which the user must have one."""
    hidden: bool = False
    """Left out of answers until it is complete."""
    secret: bool = False
    """Shown without name, text and numbers until it is complete."""
    on_change: Policy = "keep"
    """What a new version of this goal does with progress made under the one before."""

    @field_validator("active_until")
    @classmethod
    def _after_the_beginning(cls, until: int | None, info: ValidationInfo) -> int | None:
        begin = info.data.get("active_from")
        if until is not None and begin is not None and until <= begin:
            raise ValueError("must be later than active_from")
        return until


class TypedGoalShape(_Goal):
    """A goal of one of the three types: the newest value, the sum of values, or a number of events in a day."""

    type: GoalType
    event_source: Id
    """The event type."""
    requirement: RequirementShape


class RuleGoalShape(_Goal):
    """A goal with a rule: an object, or the same as a short expression."""

    rule: SkipValidation[RuleShape | Annotated[str, Field(examples=["count(lesson.completed per week) >= 10"])]]


def _kind(goal: Any) -> str:
    return "rule" if isinstance(goal, dict) and "rule" in goal else "type"


GoalShape = Annotated[
    Annotated[TypedGoalShape, Tag("type")] | Annotated[RuleGoalShape, Tag("rule")], Discriminator(_kind)
]


class ChallengeShape(Strict):
    """Goals that belong together."""

    id: Id
    name: Name = ""
    description: Text = ""
    goals: Annotated[list[GoalShape], Field(min_length=1)]


class FileShape(Strict):
    """The whole file."""

    schema_address: Annotated[Text, Field(alias="$schema", description="Where editors find this schema.")] = ""
    challenges: Annotated[list[ChallengeShape], Field(min_length=1)]


_TYPED = frozenset({"type", "event_source", "requirement"})
"""What a goal has instead of a rule."""


def shape_fault(error: Any) -> Fault:
    """What pydantic found in a file, at its location and in our words."""
    path = error["loc"]
    kind = path[4] if path[2:3] == ("goals",) and len(path) > 4 else None
    if kind is not None:
        path = (*path[:4], *path[5:])  # which of the two shapes it was held against
    if (
        kind == "rule"
        and len(path) == 5
        and path[4] in TypedGoalShape.model_fields
        and error["type"] == "extra_forbidden"
    ):
        return Fault(path, "stands beside rule: a goal has either type, event_source and requirement, or a rule")
    if error["type"] == "missing" and len(path) == 5 and path[4] in _TYPED and not _TYPED & error["input"].keys():
        return Fault((*path[:4], "rule"), "is missing; a goal without one has type, event_source and requirement")
    return Fault(path, shape_reason(error, _known_keys(tuple(step for step in path[:-1] if isinstance(step, str)))))


def _known_keys(owner: tuple[str, ...]) -> list[str]:
    """The keys that an object of the file may hold."""
    shapes: dict[tuple[str, ...], list[type[Strict]]] = {
        (): [FileShape],
        ("challenges",): [ChallengeShape],
        ("challenges", "goals"): [TypedGoalShape, RuleGoalShape],
        ("challenges", "goals", "requirement"): [RequirementShape],
    }
    return [field.alias or name for shape in shapes.get(owner, []) for name, field in shape.model_fields.items()]
