"""Every record and number that Python and Lua share, defined once.

A script names a position, ``row[Row.state]``, a number, ``Limit.CHUNK``, or makes a record, ``Part{ ... }``. Before it
goes to Redis each such name is replaced by what ``constants`` says (``models/state/lua_source.py``), so it costs no
local variable and nothing at run time, and a name that is not here stops the process that loads the script.

A record crosses as a list in the order of its fields. Lua counts from 1.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple


class Row(NamedTuple):
    """Progress with the operator state it is computed from. Times are microseconds since the epoch.

    Redis keeps it in this order, so a new field goes to the end.
    """

    goal_id: str
    period: str
    """The period's key, such as ``2026-11-21``, ``2026-W47`` or ``2026-11``; empty for a goal without periods."""
    challenge_id: str
    operator: str
    rule_version: int
    record_version: int
    """The shard's change counter when the row last changed (promise P5)."""
    completed_at: int
    """Event time of the event that completed the goal; 0 while it is not complete."""
    created_at: int
    updated_at: int
    state: list[Any]
    """What the operator remembers; see its file in ``models/rules/operators``."""
    reached_at: int = 0
    """When (event time) the rule's own condition was met; ``completed_at`` follows once prerequisites are complete."""
    version_states: Sequence[Any] = ()
    """A ``VersionState`` for each version of the goal, while late events may move them: see ``version_states.py``."""
    part: bool = False
    """Whether it belongs to a part of a goal, or to its prerequisites, rather than to a goal; see ``graph.py``."""

    def packed_fields(self) -> list[Any]:
        """The fields as Redis keeps them: false where there are no slots, for Lua has one empty list and map."""
        return list(self) if self.version_states else list(self._replace(version_states=False))  # type: ignore[arg-type]

    @classmethod
    def of_packed(cls, fields: Sequence[Any]) -> "Row":
        """Read what Redis keeps. The script has a field of its own behind ours."""
        row = cls(*fields[: len(cls._fields)])
        return row if row.version_states else row._replace(version_states=())


class VersionState(IntEnum):
    """Positions in the state of one row under one version of its goal."""

    VERSION = 0
    IS_CURRENT = 1
    """Whether an event fell under the version, or under one that it goes on from."""
    STATE = 2
    OPERATOR = 3


class Mode(IntEnum):
    """What a step is to its row."""

    CURRENT = 0
    """Of the version that its event falls under."""
    MIGRATED = 1
    """For a later version that takes the progress over, where the user has come to it."""
    GRANDFATHERED = 2
    """For a version before, in case an event comes that shows the user to be on it."""
    GRANDFATHERED_LATE = 3
    """The same, when no such event can come any more."""


class Part(NamedTuple):
    """One part of a composite. A node has the fields of all its parts in one list."""

    node_id: str
    periodic: bool
    """Whether it has a row for each period: it counts once any is complete."""
    exact: bool
    """Whether its time of completion is a function of the set of events."""


class Parent(NamedTuple):
    """A composite that a node is a part of. A node has the fields of all of them in one list."""

    node: int
    position: int
    """The part's position in it, from 1."""
    is_current: bool
    """False: it is of a later publication than the node."""


class Node(NamedTuple):
    """A rule under one version. Other nodes are named by their positions in the request's list, from 1; 0: none."""

    node_id: str
    challenge_id: str
    operator: str
    reducer: str
    version: int
    target: float
    a: float
    """``a`` and ``b``: two further numbers, which each operator has its own names for."""
    b: float
    steps: int
    """Of a sequence."""
    is_part: bool
    exact: bool
    periodic: bool
    timed: bool
    keeps_from: int
    grandfathered_versions: Sequence[int]
    ends_at: int
    gate: int
    unlocks: int
    parts: Sequence[Any]
    parents: Sequence[int]
    has_row: bool
    told: int
    """A number for the composites that it is a part of, under their versions."""


class Target(NamedTuple):
    """Where a step goes. A user has the fields of all of them in one list."""

    node: int
    row: int
    """The row's position among the user's, from 1."""
    mode: Mode


class Step(NamedTuple):
    """What an event does to one row. An event has the fields of all its steps in one list, behind its own."""

    target: int
    """The position of the target's first field in its list, from 1."""
    amount: float
    low: int


class Event(NamedTuple):
    """An event of the request; its steps follow."""

    identity_hash: str
    occurred_at: int
    position: int
    """In the batch, from 0."""


class User(NamedTuple):
    """One user's part of the request."""

    member: str
    fields: Sequence[str]
    """The fields of the record to read: those of ``Meta`` first, then one for each row."""
    periods: Sequence[str]
    """The period of each row."""
    targets: Sequence[int]
    events: Sequence[Any]


class Meta(NamedTuple):
    """The record's own fields that the apply script reads, before the rows'; their names begin with ``@``."""

    loaded: str = "@loaded"
    dirty: str = "@dirty"
    seen: str = "@seen"
    seen_before: str = "@seen_before"


class ApplyReply(NamedTuple):
    """What the apply script answers."""

    events: int
    duplicates: int
    unlocks: int
    dirty_users: int
    """Of the whole shard, after the call."""
    cold: Sequence[Any]


class Cold(NamedTuple):
    """A user whose record must be loaded first."""

    user: int
    """In the request, from 0."""
    token: bytes
    """What loading must present."""


class LoggedUnlock(NamedTuple):
    """A goal completed, as the shard's log has it."""

    event: int
    """The position of the event in the batch, from 0."""
    goal_id: str
    period: str
    challenge_id: str
    rule_version: int
    completed_at: int


class LoggedEvaluation(NamedTuple):
    """What an event meant to a goal, as the shard's log has it."""

    event: int
    goal_id: str
    period: str
    challenge_id: str
    rule_version: int
    status_before: str
    status: str
    progress_before: Any
    """A number; of a ``sum`` its two halves."""
    progress_after: Any
    decision: str


class Hydrated(NamedTuple):
    """A cold user with what PostgreSQL knows."""

    token: bytes
    tenant_id: str
    user_id: str
    floor: int
    """The highest version among the rows."""
    hashes: Sequence[str]
    """Identity hashes of the user's recent events."""
    rows: Sequence[Any]
    """Field, packed row, ..."""


class Repaired(NamedTuple):
    """A user with the rows that are to stand in the record."""

    tenant_id: str
    user_id: str
    member: str
    floor: int
    """The highest version known of the user."""
    hashes: Sequence[str]
    rows: Sequence[Any]
    """Field, fields of the row, ..."""


class Flushed(NamedTuple):
    """A user whose record PostgreSQL has, up to a version."""

    member: str
    record_version: int
    past_fields: Sequence[str]
    """Rows of past periods, which may leave Redis."""


class FlushedEntry(NamedTuple):
    """An entry of the log that PostgreSQL has."""

    entry_id: str
    size: int
    """Bytes."""
    tenants: Sequence[str | int]
    """Tenant, its bytes, ..."""


class Candidate(NamedTuple):
    """A user whose record may leave Redis."""

    member: str
    seen: bytes
    """The newest dedup bucket; empty where the record names none."""
    seen_before: bytes


class Text:
    """Texts that both sides know."""

    MARK = "\x1f"
    """Stands between a goal's id and its period in a record's field; no id can hold it."""
    PROBE_TENANT = "~probe"
    """No caller's: '~' is in no tenant id. See ``models/fleet/probes.py``."""
    GROUP = "ql"
    """The one consumer group of each stream of a shard's queue, and its one consumer."""
    PROBE = f"{PROBE_TENANT}:"
    """Begins its member, whose events count nowhere."""


class Limit:
    """Numbers that both sides keep to."""

    CHUNK = 1000
    """Arguments of one command; Lua's stack holds about 8,000."""
    VERSION_DIGITS = 16
    """In front of every packed row, so that a flush can tell what changed without unpacking."""
    SHARE = 4
    """An owner holds at most so many times what is still free of a bound; see ``models/fairness.py``."""
    EVENT_COST = 1024
    """What an event counts as while it waits, beside its bytes."""
    FAIR_STREAMS = 4
    """Of a shard's queue: workers read as much of each, and who has little waiting is in the first ones."""
    STREAMS = FAIR_STREAMS + 1
    """The last one holds what is tried alone."""
    LIGHT = 32 * 1024
    """What a tenant may have waiting for its next batch to go to the first stream."""
    HEAVIER = 16
    """How many times as much for each of the next ones."""
    TOGETHER = 2
    """How often an entry is given to a worker among others, before it is given alone."""


RECORDS: tuple[type[Any], ...] = (
    Row,
    Node,
    Part,
    Parent,
    Target,
    Step,
    Event,
    User,
    Meta,
    ApplyReply,
    Cold,
    LoggedUnlock,
    LoggedEvaluation,
    Hydrated,
    Repaired,
    Flushed,
    FlushedEntry,
    Candidate,
)


def fields_of(record: str) -> tuple[str, ...]:
    """The fields of a record by its name, in their order."""
    if record == VersionState.__name__:
        return tuple(VersionState.__members__)
    found = {one.__name__: one._fields for one in RECORDS}
    if record not in found:
        raise ValueError(f"there is no record {record}")
    return tuple(found[record])


def constants() -> dict[str, int | str]:
    """What Lua calls ``<record>.<field>``: positions from 1, ``<record>.SIZE``; modes, limits and texts."""
    found: dict[str, int | str] = {"Row.told": len(Row._fields) + 1}
    """The script's own, in Redis only: the composites that were told all they need of a completed part."""
    for record in RECORDS:
        found[f"{record.__name__}.SIZE"] = len(record._fields)
        found |= {f"{record.__name__}.{name}": index for index, name in enumerate(record._fields, start=1)}
    found |= {f"VersionState.{name}": position + 1 for name, position in VersionState.__members__.items()}
    found |= {f"Mode.{name}": int(mode) for name, mode in Mode.__members__.items()}
    for numbers in (Limit, Text):
        named = ((name, value) for name, value in vars(numbers).items() if name.isupper())
        found |= {f"{numbers.__name__}.{name}": value for name, value in named}
    return found
