"""From rows to answers: which goals a user sees, and how each of them is shown. Reads nothing itself."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from api.answers import GoalProgress, Number, PartProgress, Status
from models.attributes import Attributes, pack_attributes, zone_of
from models.events import Event
from models.rules.calendar import moment, period_key
from models.rules.fields import EventFields
from models.rules.goals import Goal, Publications
from models.rules.nodes import lock_id, node_id
from models.rules.operators import progress_of
from models.rules.rows import Row
from models.rules.rule import USER_ZONE, Rule
from models.rules.rule_text import expression_of
from models.rules.succession import can_keep

NAME_OF_SECRETS = "Secret goal"


def asks_attributes(goals: Iterable[Goal]) -> bool:
    """Whether it depends on the user's attributes which goals, or which periods of them, are shown."""
    return any(goal.segments or (goal.per and goal.rule.timezone == USER_ZONE) for goal in goals)


@dataclass(frozen=True, slots=True)
class UserView:
    """One user at one moment."""

    publications: Publications
    versioned: bool
    """Whether the goals' versions are known."""
    rows: Iterable[Row]
    attributes: Attributes
    now: int
    """Microseconds."""
    reveal: bool = False
    """Show hidden and secret goals as if they were neither."""
    _by_key: dict[tuple[str, str], Row] = field(init=False)
    _completed: frozenset[str] = field(init=False)
    """Nodes that are complete, in any of their periods."""
    _unseen: frozenset[str] = field(init=False)
    """Hidden goals that are not to be named."""

    def __post_init__(self) -> None:
        rows = list(self.rows)
        object.__setattr__(self, "_by_key", {(row.goal_id, row.period): row for row in rows})
        object.__setattr__(self, "_completed", frozenset(row.goal_id for row in rows if row.completed_at))
        goals = () if self.reveal else self._goals
        object.__setattr__(self, "_unseen", frozenset(goal.goal_id for goal in goals if self._is_unseen(goal)))

    def goals(self) -> Iterator[GoalProgress]:
        """The goals that the user may see, in the order of the challenges file."""
        fields = EventFields(Event("", "", "", "", 0, 0, attributes=pack_attributes(self.attributes)))
        for goal in self._goals:
            row = self._row(goal)
            if goal.goal_id in self._unseen or (row is None and not fields.in_segments(goal.segments)):
                continue
            shown = self._shown(goal, row)
            masked = goal.secret and shown.status != "completed" and not self.reveal
            yield shown.model_copy(update=_MASK) if masked else shown

    @property
    def _goals(self) -> tuple[Goal, ...]:
        return self.publications.at(self.now).rulebook.goals

    def _is_unseen(self, goal: Goal) -> bool:
        row = self._row(goal)
        return goal.hidden and not (row and row.completed_at)

    def _period(self, goal: Goal) -> str:
        zone = goal.rule.timezone
        return period_key(goal.per, self.now, (zone_of(self.attributes) or "UTC") if zone == USER_ZONE else zone)

    def _row(self, goal: Goal) -> Row | None:
        return self._by_key.get((goal.goal_id, self._period(goal)))

    def _shown(self, goal: Goal, row: Row | None) -> GoalProgress:
        goal, row = self._as_of_version(goal, row)
        status = _status(row)
        rule_version = row.rule_version if row else goal.version
        return GoalProgress(
            challenge_id=goal.challenge_id,
            goal_id=goal.goal_id,
            name=goal.name,
            description=goal.description,
            rule=None if self._names_unseen(goal.rule) else _text(goal.rule),
            period=self._period(goal),
            progress=_progress(goal.rule, row),
            target=_plain(goal.target),
            status=status,
            completed_at=moment(row.completed_at) if row and row.completed_at else None,
            locked=status != "completed" and self._is_locked(goal),
            prerequisites=[other for other in goal.prerequisites if other not in self._unseen],
            hidden=goal.hidden,
            secret=goal.secret,
            active_from=None if goal.active_from is None else moment(goal.active_from),
            active_until=None if goal.active_until is None else moment(goal.active_until),
            parts=list(self._parts(goal, goal.goal_id, goal.rule)),
            rule_version=rule_version if self.versioned or row else None,
        )

    def _is_locked(self, goal: Goal) -> bool:
        # The lock remembers what rows of past periods, which are not read, once said.
        if lock_id(goal.goal_id) in self._completed:
            return False
        return any(other not in self._completed for other in goal.prerequisites)

    def _as_of_version(self, goal: Goal, row: Row | None) -> tuple[Goal, Row | None]:
        """The version of the goal that a row is to be read by, and the row as far as it still counts."""
        if row is None or row.rule_version == goal.version:
            return goal, row
        before = self._version(goal.goal_id, row.rule_version) or goal
        if goal.on_change == "grandfather" or row.rule_version > goal.version:
            return before, row
        if goal.on_change == "keep" and can_keep(before.rule, goal.rule):
            return goal, row
        return (before, row) if row.completed_at else (goal, None)

    def _version(self, goal_id: str, version: int) -> Goal | None:
        known = (item.rulebook.by_id.get(goal_id) for item in reversed(self.publications.items))
        return next((goal for goal in known if goal and goal.version == version), None)

    def _parts(self, goal: Goal, own_id: str, rule: Rule) -> Iterator[PartProgress]:
        """The parts of a composite, or of a composite part, of a goal."""
        composite = self._by_key.get((own_id, ""))
        # A composite remembers of its parts what rows of past periods, which are not read, once said.
        times = composite.state[1:] if composite and composite.rule_version == goal.version else []
        for place, part in enumerate(rule.of, start=1):
            if isinstance(part, str):
                yield self._goal_part(part, done=any(times[place - 1 : place]))
            else:
                yield self._rule_part(goal, node_id(own_id, place), part)

    def _rule_part(self, goal: Goal, part_id: str, rule: Rule) -> PartProgress:
        row = self._by_key.get((part_id, ""))
        return PartProgress(
            goal_id=None,
            rule=None if self._names_unseen(rule) else _text(rule),
            progress=_progress(rule, row),
            target=_plain(rule.target),
            status=_status(row),
            parts=list(self._parts(goal, part_id, rule)),
        )

    def _goal_part(self, goal_id: str, *, done: bool) -> PartProgress:
        goal = self.publications.at(self.now).rulebook.by_id.get(goal_id)
        row = self._row(goal) if goal else None
        # A goal with periods is done as a part once any of its periods is complete.
        status: Status = "completed" if done or goal_id in self._completed else _status(row)
        secret = bool(goal and goal.secret) and status != "completed" and not self.reveal
        told = goal if goal_id not in self._unseen and not secret else None
        return PartProgress(
            goal_id=None if goal_id in self._unseen else goal_id,
            rule=None,
            progress=_progress(told.rule, row) if told else None,
            target=_plain(told.target) if told else None,
            status=status,
            parts=[],
        )

    def _names_unseen(self, rule: Rule) -> bool:
        """Whether a rule names a goal that is hidden from the user."""
        return any(part in self._unseen if isinstance(part, str) else self._names_unseen(part) for part in rule.of)


_MASK: dict[str, Any] = {
    "name": NAME_OF_SECRETS,
    "description": None,
    "rule": None,
    "progress": None,
    "target": None,
    "prerequisites": [],
    "parts": [],
}


@lru_cache(maxsize=4096)
def _text(rule: Rule) -> str:
    return expression_of(rule)


def _status(row: Row | None) -> Status:
    if row is None:
        return "not_started"
    return "completed" if row.completed_at else "in_progress"


def _progress(rule: Rule, row: Row | None) -> Number | None:
    if row is None or not row.state:
        return None if rule.op == "min" else 0
    progress = progress_of(row)
    return progress if isinstance(progress, int) else float(progress)


def _plain(number: float) -> Number:
    return int(number) if number == int(number) else number
