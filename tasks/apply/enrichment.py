"""Enriches events with the attributes that rules ask for, before they are logged.

A replay of the log then sees what was seen the first time, whatever the attributes are by then.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from models.attributes import Attributes, pack_attributes, zone_of
from models.events import Event
from models.stores.user_attributes import UserAttributes


@dataclass(frozen=True, slots=True)
class Enricher:
    """Writes users' attributes into their events."""

    attributes: UserAttributes

    def enrich(
        self, shard: int, events: Sequence[Event], names: frozenset[str], *, may_ask: bool = True
    ) -> list[Event]:
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
        additions = {user: _addition(attributes, names) for user, attributes in known.items()}
        return [_enriched(event, additions) for event in events]


def _addition(attributes: Attributes, names: frozenset[str]) -> tuple[str | None, bytes]:
    asked = {name: value for name, value in attributes.items() if name in names}
    return zone_of(asked), pack_attributes(asked) if asked else b""


def _enriched(event: Event, additions: dict[tuple[str, str], tuple[str | None, bytes]]) -> Event:
    if event.attributes:
        return event
    zone, attributes = additions[event.tenant_id, event.user_id]
    return event._replace(timezone=event.timezone or zone, attributes=attributes)
