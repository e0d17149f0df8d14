"""The plan of a batch: what ``apply_events.lua`` needs to know of the events, and nothing else.

Python matches events to goals and does the calendar; Lua gets fields, numbers and hashes. The wire form is
``[goals, users]`` in msgpack, where

* goal = [goal_id, challenge_id, operator, version, target, target_low, stops_at_target]
* user = [member, fields, goal indexes, periods, events]: the fields of the record to read, those of ``META`` first and
  then one for each row, with the row's goal and period at the same place in the next two
* event = [identity hash, occurred_at, place in the batch, and for each step: row index, amount, low]

Indexes count from 1, as Lua does. It is flat because every table costs Lua an allocation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack

from models.events import Event, identity_hash
from models.hot.keys import member
from models.rules.amounts import split
from models.rules.goals import Goal, Rulebook
from models.rules.matching import steps_of

META = ("@loaded", "@dirty", "@seen", "@seen_before")
"""The record's own fields that the script reads, in its order; see ``records.py``."""
FIELD_MARK = b"\x1f"
"""Stands between a goal's id and its period in a record's field; no id can hold it."""


@dataclass(slots=True)
class UserPlan:
    """One user's part of a batch."""

    tenant_id: str
    user_id: str
    member: str
    fields: list[str] = field(default_factory=lambda: list(META))
    goals: list[int] = field(default_factory=list)
    periods: list[str] = field(default_factory=list)
    events: list[list[Any]] = field(default_factory=list)
    row_index: dict[str, int] = field(default_factory=dict)
    """The row's index by its field."""

    def wire(self) -> tuple[Any, ...]:
        """The wire form above."""
        return self.member, self.fields, self.goals, self.periods, self.events


@dataclass(slots=True)
class Plan:
    """A batch matched against the rulebook. ``events`` and ``packed`` are the batch as it arrived."""

    events: Sequence[Event]
    packed: bytes
    goals: list[list[Any]]
    users: list[UserPlan]

    def pack(self) -> bytes:
        """The wire form above."""
        packed: bytes = msgpack.packb([self.goals, [user.wire() for user in self.users]])
        return packed

    def only(self, users: list[UserPlan]) -> "Plan":
        """The same batch for some of its users."""
        return Plan(self.events, self.packed, self.goals, users)


def field_of(goal_id: str, period: str) -> str:
    """The record's field of a row. Ids hold no control character, so no two rows share a field."""
    return f"{goal_id}\x1f{period}"


def make_plan(rulebook: Rulebook, events: Sequence[Event], packed: bytes) -> Plan:
    """Match every event of a batch to its goals, grouped by user."""
    return _Planner(rulebook).plan(events, packed)


class _Planner:
    def __init__(self, rulebook: Rulebook) -> None:
        self._rulebook = rulebook
        self._goals: list[list[Any]] = []
        self._goal_index: dict[str, int] = {}
        self._users: dict[tuple[str, str], UserPlan] = {}

    def plan(self, events: Sequence[Event], packed: bytes) -> Plan:
        for place, event in enumerate(events):
            user = self._user(event)
            entry: list[Any] = [identity_hash(event.event_id), event.occurred_at, place]
            for goal, period, amount, low in steps_of(self._rulebook, event):
                name = field_of(goal.goal_id, period)
                index = user.row_index.get(name) or self._add_row(user, name, goal, period)
                entry += (index, amount, low)
            user.events.append(entry)
        return Plan(events, packed, self._goals, list(self._users.values()))

    def _user(self, event: Event) -> UserPlan:
        key = (event.tenant_id, event.user_id)
        user = self._users.get(key)
        if user is None:
            user = self._users[key] = UserPlan(*key, member(*key))
        return user

    def _add_row(self, user: UserPlan, name: str, goal: Goal, period: str) -> int:
        user.fields.append(name)
        user.goals.append(self._goal(goal))
        user.periods.append(period)
        index = user.row_index[name] = len(user.goals)
        return index

    def _goal(self, goal: Goal) -> int:
        index = self._goal_index.get(goal.goal_id)
        if index is None:
            target, low = split(goal.target) if goal.operator == "sum" else (goal.target, 0)
            fixed = [goal.goal_id, goal.challenge_id, goal.operator, goal.version]
            self._goals.append([*fixed, target, low, goal.stops_at_target])
            index = self._goal_index[goal.goal_id] = len(self._goals)
        return index
