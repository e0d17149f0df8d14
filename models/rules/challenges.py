"""The challenges file: its text in, a rulebook out, or every fault of it at once.

The format is the one of the system that Questline replaces: ``challenges[].goals[].{id, type, event_source,
requirement.target}``, with names, descriptions, rewards and prerequisites kept as data. This module reads no
file; it is told the file's name for its messages.
"""

from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from models.errors import InvalidChallengesError
from models.events import MAX_EXACT
from models.rules.challenge_faults import Fault, in_words, named, render, shape_reason
from models.rules.challenge_links import link_faults
from models.rules.goals import Goal, Operator, Period, Rulebook
from models.rules.json_text import JsonTextError, read_json, repeated_keys, walk

GoalType = Literal["absolute", "increment", "daily"]

_MEANING: dict[GoalType, tuple[Operator, Period | None]] = {
    "absolute": ("latest", None),
    "increment": ("sum", None),
    "daily": ("count", "day"),
}
_MAX_ID = 256
_MAX_REWARD_DEPTH = 16


def _storable(text: str) -> str:
    """Text that UTF-8 and PostgreSQL can hold."""
    for character in text:
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise ValueError(f"must not hold the character U+{ord(character):04X}")
    return text


def _identifier(text: str) -> str:
    """An id by the rule that holds for ids in events, so that it can be matched and printed on one line."""
    if not 1 <= len(text) <= _MAX_ID:
        raise ValueError(f"must be 1 to {_MAX_ID} characters long, is {len(text)}")
    for character in text:
        if character < " " or "\x7f" <= character <= "\x9f" or character in "\u2028\u2029":
            raise ValueError(f"must not hold the control character U+{ord(character):04X}")
    return _storable(text)


def _exact_number(value: Any) -> float:
    """A number that a double holds exactly, or nearly: JSON's, not a boolean, within ±2**53."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, is {in_words(value)}")  # noqa: TRY004 - pydantic collects ValueErrors
    if not isfinite(value):
        raise ValueError("must be a finite number")
    # A float of 2**53 may be what a parser left of 2**53 + 1; written as a whole number it is what it says.
    if abs(value) > MAX_EXACT or (abs(value) == MAX_EXACT and isinstance(value, float)):
        raise ValueError(f"must be at most 2**53 ({MAX_EXACT}), beyond which numbers are no longer exact")
    return value


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError(f"must be greater than 0, is {value!r}")
    return value


def _plain_data(reward: dict[str, Any]) -> dict[str, Any]:
    """A reward is kept as it stands, so it must be what JSON and PostgreSQL can give back unchanged."""
    for path, part in walk(reward):
        where = ".".join(str(step) for step in path)
        try:
            if len(path) > _MAX_REWARD_DEPTH:
                raise ValueError(f"is nested deeper than {_MAX_REWARD_DEPTH} levels")  # noqa: TRY301 - gets its place below
            if isinstance(part, str):
                _storable(part)
            elif isinstance(part, dict):
                _storable("".join(part))
            elif isinstance(part, int | float) and not isinstance(part, bool):
                _exact_number(part)
        except ValueError as error:
            raise ValueError(f"at {named(where)}: {error}" if path else str(error)) from error
    return reward


_Id = Annotated[str, AfterValidator(_identifier)]
_Text = Annotated[str, AfterValidator(_storable)]
_Name = Annotated[_Text, Field(min_length=1)]
_Target = Annotated[int | float, BeforeValidator(_exact_number), AfterValidator(_positive)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Requirement(_Strict):
    target: _Target


class _Goal(_Strict):
    id: _Id
    type: GoalType
    event_source: _Id
    requirement: _Requirement
    name: _Name = ""
    description: _Text = ""
    reward: Annotated[dict[str, Any], AfterValidator(_plain_data)] = Field(default_factory=dict)
    prerequisites: list[_Id] = Field(default_factory=list)


class _Challenge(_Strict):
    id: _Id
    name: _Name = ""
    description: _Text = ""
    goals: Annotated[list[_Goal], Field(min_length=1)]


class _File(_Strict):
    challenges: Annotated[list[_Challenge], Field(min_length=1)]


_KEYS_AT: dict[tuple[str, ...], type[_Strict]] = {
    (): _File,
    ("challenges",): _Challenge,
    ("challenges", "goals"): _Goal,
    ("challenges", "goals", "requirement"): _Requirement,
}


def parse_challenges(text: bytes | str, file: str) -> Rulebook:
    """Read a challenges file; ``file`` is its name as the messages give it.

    Raises:
        InvalidChallengesError: the file has faults; all of them, one line each, in the file's order.
    """
    try:
        root = read_json(text)
    except JsonTextError as error:
        raise InvalidChallengesError([f"{file}: {error}"]) from error
    faults = [Fault(path, "is named twice in one object") for path in repeated_keys(root)]
    faults += link_faults(root)
    try:
        parsed = _File.model_validate(root)
    except ValidationError as error:
        faults += [Fault(fault["loc"], shape_reason(fault, _known_keys(fault["loc"]))) for fault in error.errors()]
    if faults:
        raise InvalidChallengesError(render(file, root, faults))
    return Rulebook(tuple(_goal(challenge, goal) for challenge in parsed.challenges for goal in challenge.goals))


def _known_keys(path: tuple[int | str, ...]) -> list[str]:
    """The keys that the object around a key may hold."""
    owner = _KEYS_AT.get(tuple(step for step in path[:-1] if isinstance(step, str)))
    return list(owner.model_fields) if owner else []


def _goal(challenge: _Challenge, goal: _Goal) -> Goal:
    operator, per = _MEANING[goal.type]
    return Goal(
        goal_id=goal.id,
        challenge_id=challenge.id,
        name=goal.name or goal.id,
        description=goal.description,
        operator=operator,
        event_source=goal.event_source,
        target=goal.requirement.target,
        per=per,
        stops_at_target=per is not None,  # the seed's daily goals: "no change (already completed)"
        reward=goal.reward or None,
        prerequisites=tuple(goal.prerequisites),
    )
