"""Quotas: events a second and bytes a day of a tenant or a key."""

from typing import NamedTuple

WINDOW_S = 10
"""Events a second are counted over so many seconds: a sender may send in bursts."""


class Quota(NamedTuple):
    """The most that may be sent; None where nothing bounds it."""

    events_per_second: int | None = None
    bytes_per_day: int | None = None

    def over(self, default: "Quota") -> "Quota":
        """This quota, and what another one says where this one says nothing. A bound of 0 lifts that of the other."""
        return Quota(
            default.events_per_second if self.events_per_second is None else self.events_per_second or None,
            default.bytes_per_day if self.bytes_per_day is None else self.bytes_per_day or None,
        )


def of_tenant(tenant_id: str) -> str:
    """The name by which a tenant's quota is kept, and what it has sent."""
    return f"tenant:{tenant_id}"


def of_key(key_id: str) -> str:
    """The same for a key."""
    return f"key:{key_id}"


class Sent(NamedTuple):
    """What a request brings of one tenant."""

    events: int
    bytes: int
