"""A selection of dead letters."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from sqlalchemy import ColumnElement

from models.database.tables import dead_letters

Kind = Literal["row", "event", "unlock", "evaluation", "batch", "message"]
"""What a dead letter holds: a refused row of a layer, events, or a queue's message."""


class DeadLetterFilter(NamedTuple):
    """What dead letters must have in common; None asks for nothing."""

    tenant_id: str | None = None
    user_id: str | None = None
    kind: Kind | None = None
    reason: str | None = None
    task: str | None = None
    shard: int | None = None
    batch_id: str | None = None
    event_id: str | None = None
    """An event that is among the dead letter's."""
    since: datetime | None = None
    """Last seen at this time or later."""
    until: datetime | None = None
    """Last seen before this time."""
    ids: Sequence[int] | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The filter as conditions on ``dead_letters``, all values as parameters."""
        known = dead_letters.c
        columns = ("tenant_id", "user_id", "kind", "reason", "task", "shard", "batch_id")
        found = [known[name] == getattr(self, name) for name in columns if getattr(self, name) is not None]
        if self.event_id is not None:
            found.append(known.event_ids.contains([self.event_id]))
        if self.since is not None:
            found.append(known.last_seen >= _utc(self.since))
        if self.until is not None:
            found.append(known.last_seen < _utc(self.until))
        if self.ids is not None:
            found.append(known.id.in_(self.ids))
        return found


def _utc(at: datetime) -> datetime:
    """PostgreSQL takes no offset of 16 hours or more. At the ends of the calendar a day more or less is the same."""
    try:
        return at.astimezone(UTC)
    except OverflowError:
        return at.replace(tzinfo=UTC)
