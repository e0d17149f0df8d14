"""What the JSON forms of several operators have in common."""

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from models.rules.forms.conditions import Where, payload_path
from models.rules.forms.values import Id, Strict, Zone, identifier
from models.rules.forms.words import in_words
from models.rules.rule import Period

MAX_PARTS = 16
"""Parts of a composite, and steps of a sequence."""


def _number_field(path: str) -> str:
    if path in ("value", "increment") or payload_path(path):
        return identifier(path)
    raise ValueError(f"must be value, increment or payload.<name>, is {in_words(path)}")


NumberField = Annotated[
    str,
    AfterValidator(_number_field),
    Field(json_schema_extra={"pattern": r"^(value|increment|payload(\.[^.]+)+)$", "maxLength": 256}),
]


class LeafShape(Strict):
    """An operator on events of one type."""

    event: Id
    """The event type."""
    where: Where = Field(default_factory=list)
    """What an event must say to count; all of it."""


class PeriodicShape(LeafShape):
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
