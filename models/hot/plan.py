"""The plan of a batch: what ``apply_events.lua`` needs to know of the events, and nothing else.

Python matches events to goals and does the calendar; Lua gets fields, numbers and hashes. The wire form is
``[goals, users]`` in msgpack, where

* goal = [goal_id, challenge_id, operator, version, target, target_low]
* user = [member, rows, events] with row = [field, goal index, period] and event = [identity hash, occurred_at, place
  in the batch, [row index, amount, low] ...], indexes counted from 1 as Lua does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from models.events import Event, identity_hash
from models.hot.keys import member
from models.rules.amounts import split
from models.rules.goals import Goal, Rulebook
from models.rules.matching import steps_of

FIELD_MARK = b"\x1f"
"""Stands between a goal's id and its period in a record's field; no id can hold it."""


@dataclass(slots=True)
class UserPlan:
    """One user's part of a batch."""

    tenant_id: str
    user_id: str
    member: str
    rows: list[tuple[str, int, str]]
    events: list[list[Any]]
    row_index: dict[str, int]
    """The place in ``rows`` of each field, counted from 1."""


@dataclass(slots=True)
class Plan:
    """A batch matched against the rulebook. ``events`` and ``packed`` are the batch as it arrived."""

    events: Sequence[Event]
    packed: bytes
    goals: list[list[Any]]
    users: list[UserPlan]

    def pack(self) -> bytes:
        """The wire form above."""
        packed: bytes = msgpack.packb([self.goals, [[user.member, user.rows, user.events] for user in self.users]])
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
                field = field_of(goal.goal_id, period)
                index = user.row_index.get(field) or self._add_row(user, field, goal, period)
                entry.append((index, amount, low))
            user.events.append(entry)
        return Plan(events, packed, self._goals, list(self._users.values()))

    def _user(self, event: Event) -> UserPlan:
        key = (event.tenant_id, event.user_id)
        user = self._users.get(key)
        if user is None:
            user = self._users[key] = UserPlan(*key, member(*key), [], [], {})
        return user

    def _add_row(self, user: UserPlan, field: str, goal: Goal, period: str) -> int:
        user.rows.append((field, self._goal(goal), period))
        index = user.row_index[field] = len(user.rows)
        return index

    def _goal(self, goal: Goal) -> int:
        index = self._goal_index.get(goal.goal_id)
        if index is None:
            target, low = split(goal.target) if goal.operator == "sum" else (goal.target, 0)
            self._goals.append([goal.goal_id, goal.challenge_id, goal.operator, goal.version, target, low])
            index = self._goal_index[goal.goal_id] = len(self._goals)
        return index
