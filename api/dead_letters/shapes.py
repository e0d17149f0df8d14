"""Dead letters over HTTP: requests and responses, as OpenAPI describes them."""

import re
from base64 import b64encode
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from api.dead_letters.contents import contents_of
from models.database.dead_letters.filter import DeadLetterFilter, Kind
from models.database.dead_letters.reader import MAX_PAGE, DeadLetterGroup, DeadLetterHead, StoredDeadLetter
from models.exact import PRINTABLE

Text = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=PRINTABLE)]
Tenant = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
DeadLetterId = Annotated[int, Field(ge=1, le=2**63 - 1)]
MAX_IDS = 1_000


def _is_text(value: Any) -> Any:
    """Pydantic would also take a number for a time, in seconds or milliseconds as it sees fit."""
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d[Tt ]", value):
        raise ValueError("must be an ISO 8601 date and time with an offset, such as 2026-12-01T00:00:00Z")
    return value


DateTime = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_is_text)]


class Wanted(BaseModel):
    """Which dead letters; what is left out asks for nothing."""

    model_config = ConfigDict(extra="forbid")

    tenant_id: Tenant | None = None
    user_id: Text | None = None
    kind: Kind | None = None
    reason: Text | None = Field(default=None, description="A reason code, such as evaluation_failed.")
    task: Text | None = Field(default=None, description="The name of a Celery task.")
    shard: Annotated[int, Field(ge=0, le=1023)] | None = None
    batch_id: Text | None = None
    event_id: Text | None = Field(default=None, description="An event of the dead letter.")
    since: DateTime | None = Field(default=None, description="Last seen then or later.")
    until: DateTime | None = Field(default=None, description="Last seen before then.")

    def as_filter(self, tenant_id: str | None) -> DeadLetterFilter:
        """The filter, for one tenant or for all."""
        asked = {name: getattr(self, name) for name in Wanted.model_fields}
        return DeadLetterFilter(**asked | {"tenant_id": tenant_id})


class WantedPage(Wanted):
    """Which page of which dead letters."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    cursor: DeadLetterId | None = Field(default=None, description="`next` of the page before.")


class DeadLetterSelection(Wanted):
    """Dead letters to do something with: all that a filter finds, or those named."""

    model_config = ConfigDict(extra="forbid", strict=True)

    ids: Annotated[list[DeadLetterId], Field(max_length=MAX_IDS)] | None = Field(
        default=None, description="Only these dead letters; the filter holds for them too."
    )
    dry_run: bool = Field(default=False, description="Say what would happen, and change nothing.")
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = Field(default=50, description="Dead letters of one request.")
    cursor: DeadLetterId | None = Field(default=None, description="`next` of the answer before.")

    def as_filter(self, tenant_id: str | None) -> DeadLetterFilter:
        """The filter, for one tenant or for all, with the ids."""
        return super().as_filter(tenant_id)._replace(ids=self.ids)


class DeadLetterSummary(BaseModel):
    """A dead letter: something that could not be processed."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    kind: Kind
    reason: str = Field(description="A code that does not change.")
    tenant_id: str | None = Field(description="null where it belongs to no tenant, or to several.")
    user_id: str | None
    shard: int | None
    batch_id: str | None
    event_ids: list[str]
    error: str = Field(description="What went wrong, in words.")
    attempts: int
    task: str | None
    exception: str | None = Field(description="The exception's type.")
    first_seen: AwareDatetime
    last_seen: AwareDatetime
    size: int = Field(description="Bytes of what could not be processed.")

    @classmethod
    def of(cls, head: DeadLetterHead) -> Self:
        """The answer for one dead letter."""
        return cls.model_validate(head)


class DeadLetterDetails(DeadLetterSummary):
    """A dead letter with all that is known of it."""

    traceback: str | None
    contents: Any = Field(description="The events of a batch, or the refused row; null where it is neither.")
    raw: str = Field(description="What could not be processed, as base64.")

    @classmethod
    def of_stored(cls, stored: StoredDeadLetter) -> Self:
        """The answer for one dead letter."""
        more = {
            "traceback": stored.traceback,
            "contents": contents_of(stored.head.kind, stored.raw),
            "raw": b64encode(stored.raw).decode(),
        }
        return cls.model_validate(stored.head._asdict() | more)


class DeadLetterPage(BaseModel):
    """A page of dead letters, the newest first."""

    letters: list[DeadLetterSummary]
    next: int | None = Field(description="The cursor of the next page; null where this is the last.")


class Group(BaseModel):
    """Dead letters of one cause."""

    kind: Kind
    reason: str
    task: str | None
    exception: str | None
    error: str = Field(description="The first line of the error.")
    count: int
    first_seen: AwareDatetime
    last_seen: AwareDatetime
    example: int = Field(description="The id of the newest of them.")

    @classmethod
    def of(cls, group: DeadLetterGroup) -> Self:
        """The answer for one group."""
        values = group._asdict()
        return cls.model_validate(values | {"count": values.pop("number")})


class Groups(BaseModel):
    """Dead letters by their cause, the largest group first."""

    groups: list[Group]


class Refusal(BaseModel):
    """A dead letter that stays, or some events of it."""

    id: int
    code: str = Field(
        description="The code of an event's refusal; malformed_batch or malformed_row where it cannot be read; "
        "refused_by_postgresql; failed_again."
    )
    reason: str


class RedriveReport(BaseModel):
    """What became of the dead letters of one request."""

    redriven: int = Field(
        default=0, description="Dead letters whose events are in the journal, or whose row is written."
    )
    refused: list[Refusal] = Field(default_factory=list, description="Dead letters that stay.")
    skipped: int = Field(default=0, description="Dead letters of kind message, which cannot be redriven.")
    left: int = Field(default=0, description="Dead letters that this request did not get to.")
    next: int | None = Field(default=None, description="The cursor for those; null where there are none.")


class DiscardReport(BaseModel):
    """What was deleted."""

    discarded: int
    left: int = Field(description="Dead letters that this request did not get to.")
    next: int | None = Field(description="The cursor for those; null where there are none.")
