"""The shape of a rule in JSON for each operator.

The parts of a composite are only described, for the JSON Schema; ``rule_json.py`` reads them one level after the other.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SkipValidation, ValidationInfo, field_validator
from typing_extensions import TypeAliasType

from models.rules.challenge_file.conditions import Where, payload_path
from models.rules.challenge_file.faults import in_words
from models.rules.challenge_file.values import Duration, Exact, Id, Positive, Strict, Zone, identifier, whole
from models.rules.rule import Period

MAX_PARTS = 16
"""Parts of a composite, and steps of a sequence."""
MAX_DISTINCT = 256
"""The largest target of ``distinct``, which remembers so many values."""


def _number_field(path: str) -> str:
    if path in ("value", "increment") or payload_path(path):
        return identifier(path)
    raise ValueError(f"must be value, increment or payload.<name>, is {in_words(path)}")


NumberField = Annotated[
    str,
    AfterValidator(_number_field),
    Field(json_schema_extra={"pattern": r"^(value|increment|payload(\.[^.]+)+)$", "maxLength": 256}),
]


RuleShape = TypeAliasType(
    "RuleShape",
    "Annotated[Count | Sum | Best | Distinct | Streak | Sequence | Group | AtLeast, Field(discriminator='op')]",
)
"""A rule as an object, by its operator."""


class _Leaf(Strict):
    event: Id
    """The event type."""
    where: Where = Field(default_factory=list)
    """What an event must say to count; all of it."""


class _Periodic(_Leaf):
    """An operator that may go by periods."""

    per: Period | None = None
    """Each period counts, and completes, for itself."""
    timezone: Zone = "UTC"
    """Where periods begin: an IANA name, or user for the user's own."""

    @field_validator("timezone")
    @classmethod
    def _has_periods(cls, zone: str, info: ValidationInfo) -> str:
        if info.data.get("per", ...) is None:
            raise ValueError("says where periods begin, and this rule has none: give it per")
        return zone


class Count(_Periodic):
    """How many events."""

    op: Literal["count"]
    target: Annotated[int, whole(1)]
    last: Duration | None = None
    """Only events of a window this long count together, wherever it lies."""

    @field_validator("last")
    @classmethod
    def _no_periods(cls, last: int | None, info: ValidationInfo) -> int | None:
        if last is not None and info.data.get("per"):
            raise ValueError("does not go with per: a window that rolls has no periods")
        return last


class Sum(_Periodic):
    """The sum of a number."""

    op: Literal["sum"]
    field: NumberField | None = None
    """The number: value, increment or payload.<name>; the event's own value where not given."""
    target: Positive


class Best(_Periodic):
    """The newest, largest or smallest number."""

    op: Literal["latest", "max", "min"]
    field: NumberField | None = None
    """The number: value, increment or payload.<name>; the event's own value where not given."""
    target: Exact


class Distinct(_Periodic):
    """How many different values."""

    op: Literal["distinct"]
    field: NumberField
    """Whose values are told apart: value, increment or payload.<name>."""
    target: Annotated[int, whole(1, MAX_DISTINCT, " (every value is remembered)")]


class Streak(_Leaf):
    """How many days or weeks in a row."""

    op: Literal["streak"]
    unit: Literal["day", "week"] = "day"
    target: Annotated[int, whole(1)]
    grace: Annotated[int, whole(0, 30)] = 0
    """Missed periods, in all, that the streak survives; they do not count."""
    timezone: Zone = "UTC"
    """Where periods begin: an IANA name, or user for the user's own."""


class Sequence(Strict):
    """Events in an order."""

    op: Literal["sequence"]
    events: Annotated[list[Id], Field(min_length=2, max_length=MAX_PARTS)]
    where: Where = Field(default_factory=list)
    within: Duration | None = None
    """All must happen within this duration."""


Parts = Annotated[list[SkipValidation[Id | RuleShape]], Field(min_length=1, max_length=MAX_PARTS)]


class Group(Strict):
    """All or any of other goals and rules."""

    op: Literal["all", "any"]
    of: Parts
    """Ids of goals, and rules."""
    within: Duration | None = None
    """All must happen within this duration."""


class AtLeast(Strict):
    """Some of other goals and rules."""

    op: Literal["at_least"]
    of: Parts
    """Ids of goals, and rules."""
    k: Annotated[int, whole(1)]
    """How many of the parts."""
    within: Duration | None = None
    """All must happen within this duration."""

    @field_validator("k")
    @classmethod
    def _reachable(cls, k: int, info: ValidationInfo) -> int:
        parts = info.data.get("of")
        if parts is not None and k > len(parts):
            raise ValueError(f"can never be reached: it is {k}, but there are {len(parts)} parts")
        return k


SHAPES: dict[str, type[Strict]] = {
    "count": Count,
    "sum": Sum,
    "latest": Best,
    "max": Best,
    "min": Best,
    "distinct": Distinct,
    "streak": Streak,
    "sequence": Sequence,
    "all": Group,
    "any": Group,
    "at_least": AtLeast,
}
"""The shape of each operator."""
