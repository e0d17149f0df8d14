"""The items of a flush, as values. Times are microseconds since the epoch."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from models.database.fleet.histories import ShardFlush
from models.events import Event
from models.fleet.probes import ProbeRow
from models.rules.rows import Evaluation, Row, Unlock

Number = int | float | Decimal | None


class ProgressRow(NamedTuple):
    """A row and whose it is."""

    tenant_id: str
    user_id: str
    row: Row


class EventRow(NamedTuple):
    """An applied event."""

    event: Event
    shard: int
    record_version: int
    applied_at: int
    revision: int
    """The newest publication of rules that the worker knew; 0 where it knew of none."""


@dataclass(slots=True)
class Flush:
    """Everything one transaction writes."""

    progress: list[ProgressRow] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    unlocks: list[Unlock] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    probes: list[ProbeRow] = field(default_factory=list)
    shards: list[ShardFlush] = field(default_factory=list)
    """The shards it is of, each once."""
