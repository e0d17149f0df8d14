"""Stamping: what rules ask of users is written into the events before they are applied and logged.

A replay of the log then sees what was seen the first time, whatever the attributes are by then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from models.attributes import Attributes, pack_attributes, zone_of
from models.events import Event
from models.stores.user_attributes import UserAttributes


class Stamp(Protocol):
    """Writes the named attributes of their users into the events of a shard."""

    def __call__(
        self, shard: int, events: Sequence[Event], names: frozenset[str], *, may_ask: bool = True
    ) -> list[Event]:
        """The events with the attributes; raises DatabaseUnavailableError where some cannot be known now."""
        ...


@dataclass(frozen=True, slots=True)
class AttributeStamper:
    """Writes users' attributes into their events."""

    attributes: UserAttributes

    def stamp(self, shard: int, events: Sequence[Event], names: frozenset[str], *, may_ask: bool = True) -> list[Event]:
        """The events of one shard with those of their users' attributes that rules ask for by ``names``.

        With ``timezone`` among the names, an event without a time zone gets its user's. An event that carries
        attributes already keeps them.

        Raises:
            StateUnavailableError: Redis did not answer.
            DatabaseUnavailableError: Redis does not have them all, and PostgreSQL did not answer, or must not be asked
                again (``may_ask``).
        """
        users = list({(event.tenant_id, event.user_id): None for event in events if not event.attributes})
        if not users or not names:
            return list(events)
        known = self.attributes.of_shard(shard, users, may_ask=may_ask)
        stamps = {user: _stamp(attributes, names) for user, attributes in known.items()}
        return [_stamped(event, stamps) for event in events]


def _stamp(attributes: Attributes, names: frozenset[str]) -> tuple[str | None, bytes]:
    asked = {name: value for name, value in attributes.items() if name in names}
    return zone_of(asked), pack_attributes(asked) if asked else b""


def _stamped(event: Event, stamps: dict[tuple[str, str], tuple[str | None, bytes]]) -> Event:
    if event.attributes:
        return event
    zone, attributes = stamps[event.tenant_id, event.user_id]
    return event._replace(timezone=event.timezone or zone, attributes=attributes)
