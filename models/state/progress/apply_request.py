"""The apply request of a batch: all that ``apply_events.lua`` needs to know.

Python matches events to nodes and does the calendar; Lua gets fields, numbers and hashes. The wire form is
``[nodes, users, tenants]`` in msgpack, where

* a node is a rule under one version; others are named by their positions in the list
* tenants = [tenant, weight, ...]: about what part of the batch's bytes each tenant has

and all records are those of ``models/wire.py``. Indexes count from 1, as Lua does, those of targets in steps of three.
It is flat because every table costs Lua an allocation.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from zlib import crc32

import msgpack

from models import wire
from models.errors import RulesUnreadableError
from models.events import Event, identity_hash, pack_batch
from models.rules.costs import USER_STEPS, Cost
from models.rules.graph import NEVER, Node
from models.rules.matcher import Matcher
from models.rules.rule import Step
from models.state.keys import member
from models.wire import Meta, Text

CALL_LIMIT = Cost(steps=1_000, size=1 << 20)
"""What one call of the script may cost, so that it holds Redis for some milliseconds only: a step takes seven to
nine microseconds. An event that costs more has a call of its own; RULES_MAX_STEPS and RULES_MAX_BYTES bound it."""
_EVENT_BYTES = 100
"""About what an event takes in a batch without its payload."""
FIELD_MARK = Text.MARK.encode()


@dataclass(slots=True)
class UserRequest:
    """One user's part of a batch."""

    tenant_id: str
    user_id: str
    member: str
    fields: list[str] = field(default_factory=lambda: list(Meta()))
    periods: list[str] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    events: list[list[Any]] = field(default_factory=list)
    row_indexes: dict[str, int] = field(default_factory=dict)
    """Each row's index by its field."""
    target_indexes: dict[tuple[Node, int, str], int] = field(default_factory=dict)
    """Each target's index by node, mode and period."""

    def wire(self) -> tuple[Any, ...]:
        """The wire form above."""
        return wire.User(self.member, self.fields, self.periods, self.targets, self.events)


@dataclass(slots=True)
class ApplyRequest:
    """A batch matched against the rules. ``events`` and ``packed`` are the batch as it will be logged."""

    events: Sequence[Event]
    packed: bytes
    nodes: list[list[Any]]
    users: list[UserRequest]
    revision: int
    """The newest publication of rules that it was made with."""
    known_revision: int
    """The newest that was known of, readable or not: what the shard's fence is held against."""

    def pack(self) -> bytes:
        """The wire form above."""
        users = [user.wire() for user in self.users]
        packed: bytes = msgpack.packb([self.nodes, users, _weights(self.events)])
        return packed

    def only(self, users: list[UserRequest]) -> "ApplyRequest":
        """The same batch for some of its users."""
        return ApplyRequest(self.events, self.packed, self.nodes, users, self.revision, self.known_revision)


def _weights(events: Sequence[Event]) -> list[str | int]:
    tenants = {event.tenant_id for event in events}
    if len(tenants) == 1:
        return [*tenants, 1]
    weights: Counter[str] = Counter()
    for event in events:
        weights[event.tenant_id] += _EVENT_BYTES + len(event.payload)
    return [part for pair in weights.items() for part in pair]


def field_of(goal_id: str, period: str) -> str:
    """The record's field of a row. Ids hold no control character, so no two rows share a field."""
    return f"{goal_id}{Text.MARK}{period}"


def make_requests(
    matcher: Matcher, events: Sequence[Event], packed: bytes, *, limit: Cost = CALL_LIMIT
) -> list[ApplyRequest]:
    """Match every event of a batch to its nodes, grouped by user, cut so that no request costs more than ``limit``.

    An event that costs more has a request of its own. There is one at least.

    Raises:
        RulesUnreadableError: an event falls under a publication that this release cannot read.
    """
    requests, builder = [], _RequestBuilder(matcher)
    for event in events:
        if not builder.takes(event, limit):
            requests.append(builder.request(pack_batch(builder.events)))
            builder = _RequestBuilder(matcher)
            builder.takes(event, limit)
    requests.append(builder.request(pack_batch(builder.events) if requests else packed))
    return requests


def make_request(matcher: Matcher, events: Sequence[Event], packed: bytes) -> ApplyRequest:
    """The same in one request, whatever it costs."""
    [request] = make_requests(matcher, events, packed, limit=Cost(sys.maxsize, sys.maxsize))
    return request


class _RequestBuilder:
    """Makes one request."""

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self._nodes: list[list[Any]] = []
        self._node_indexes: dict[Node, int] = {}
        self._users: dict[tuple[str, str], UserRequest] = {}
        self._steps = self._size = 0
        self.events: list[Event] = []

    def takes(self, event: Event, limit: Cost) -> bool:
        """Add an event, unless the request has others and would cost more than ``limit`` with it; whether it did."""
        self._require_rules(event)
        steps = self._matcher.steps(event)
        cost = self._matcher.cost(event, steps)
        total = self._steps + cost.steps + (USER_STEPS if (event.tenant_id, event.user_id) not in self._users else 0)
        size = self._size + cost.size + _EVENT_BYTES + len(event.payload)
        if self.events and (total > limit.steps or size > limit.size):
            return False
        self._steps, self._size = total, size
        self._add(event, steps)
        return True

    def _add(self, event: Event, steps: Sequence[Step]) -> None:
        user = self._user(event)
        entry: list[Any] = [*wire.Event(identity_hash(event.event_id), event.occurred_at, len(self.events))]
        for step in steps:
            target = user.target_indexes.get((step.node, step.mode, step.period)) or self._add_target(user, step)
            entry += wire.Step(target, step.amount, step.low)
        user.events.append(entry)
        self.events.append(event)

    def request(self, packed: bytes) -> ApplyRequest:
        """The request of the events that were taken, which are ``packed`` as one batch."""
        rules = self._matcher.publications
        users = list(self._users.values())
        return ApplyRequest(self.events, packed, self._nodes, users, rules.newest.revision, rules.known_revision)

    def _require_rules(self, event: Event) -> None:
        revision = self._matcher.publications.unreadable_at(event.occurred_at)
        if revision is not None:
            raise RulesUnreadableError(
                f"events fall under revision {revision} of the rules, written by another release"
            )

    def _user(self, event: Event) -> UserRequest:
        key = (event.tenant_id, event.user_id)
        user = self._users.get(key)
        if user is None:
            user = self._users[key] = UserRequest(*key, member(*key))
        return user

    def _add_target(self, user: UserRequest, step: Step) -> int:
        row = _row(user, step.node.node_id, step.period)
        for parent in step.node.parents:
            if parent.node.rule.within is not None:  # every step will ask for it: read it with the others
                _row(user, parent.node.node_id, "")
        index = user.target_indexes[step.node, step.mode, step.period] = len(user.targets) + 1
        user.targets += wire.Target(self._index_of(step.node), row, step.mode)
        return index

    def _index_of(self, node: Node) -> int:
        """A node's position in the list, which it and all that it may move are added to."""
        index = self._node_indexes.get(node)
        if index is None:
            wire: list[Any] = []
            self._nodes.append(wire)
            index = self._node_indexes[node] = len(self._nodes)
            wire += self._wire(node)  # only now: nodes lead to each other in circles
        return index

    def _wire(self, node: Node) -> wire.Node:
        target, a, b = (*node.rule.numbers(node), 0, 0)[:3]
        parts = [wire.Part(name, name in node.periodic_parts, name in node.exact_parts) for name in node.parts]
        parents = [wire.Parent(self._index_of(up.node), up.position, up.is_current) for up in node.parents]
        return wire.Node(
            node_id=node.node_id,
            challenge_id=node.goal.challenge_id,
            operator=node.rule.op,
            reducer=node.reducer,
            version=node.version,
            target=target,
            a=a,
            b=b,
            steps=len(node.rule.events),
            is_part=node.is_part,
            exact=node.is_exact,
            periodic=node.periodic,
            timed=node.timed,
            keeps_from=node.keeps_from,
            grandfathered_versions=node.grandfathered_versions,
            ends_at=min(node.ends_at, NEVER),
            gate=self._index_of(node.gate) if node.gate else 0,
            unlocks=self._index_of(node.unlocks) if node.unlocks else 0,
            parts=list(chain.from_iterable(parts)),
            parents=list(chain.from_iterable(parents)),
            has_row=node.has_row,
            told=_told(node),
        )


def _told(node: Node) -> int:
    """A number for the composites that a node is a part of, under their versions."""
    return crc32(repr([(up.node.node_id, up.node.version) for up in node.parents if up.is_current]).encode())


def _row(user: UserRequest, node_id: str, period: str) -> int:
    """The position of a row among those of the user, which it is added to."""
    name = field_of(node_id, period)
    index = user.row_indexes.get(name)
    if index is None:
        user.fields.append(name)
        user.periods.append(period)
        index = user.row_indexes[name] = len(user.periods)
    return index
