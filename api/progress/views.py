"""From rows to answers: the goals that a user sees, and how. Reads nothing."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from api.progress.shapes import GoalProgress, Number, PartProgress, Status
from models.attributes import Attributes, zone_of
from models.rules.calendar import period_key, to_datetime
from models.rules.challenge_file.rule_text import expression_of
from models.rules.fields import in_segments
from models.rules.goals import Goal, Publications
from models.rules.graph import gate_id, node_id
from models.rules.operators import progress_of
from models.rules.rows import Row
from models.rules.rule import USER_ZONE, Rule

NAME_OF_SECRETS = "Secret goal"


def asks_attributes(goals: Iterable[Goal]) -> bool:
    """Whether it depends on the user's attributes which goals, or which periods of them, are shown."""
    return any(goal.segments or (goal.rule.per and goal.rule.timezone == USER_ZONE) for goal in goals)


class _Standing(NamedTuple):
    """A goal in the period that is now, and the user's row of it."""

    goal: Goal
    period: str
    row: Row | None


class UserView:
    """One user at one moment."""

    def __init__(  # noqa: PLR0913 - each of them by name
        self,
        *,
        publications: Publications,
        rows: Iterable[Row],
        attributes: Attributes,
        now: int,
        versioned: bool = True,
        reveal: bool = False,
    ) -> None:
        """``now`` in microseconds.

        ``versioned``: whether the goals' versions are known. ``reveal``: show hidden and secret goals as if they were
        neither.
        """
        self._publications, self._versioned, self._reveal = publications, versioned, reveal
        self._attributes = attributes
        self._by_key = {(row.goal_id, row.period): row for row in rows}
        self._completed = {row.goal_id for row in self._by_key.values() if row.completed_at}
        """Nodes that are complete, in any of their periods."""
        goals = publications.at(now).rulebook.goals
        self._standings = {goal.goal_id: self._standing(goal, now) for goal in goals}
        hidden = (one for one in self._standings.values() if one.goal.hidden and not reveal)
        self._unseen = {one.goal.goal_id for one in hidden if not (one.row and one.row.completed_at)}
        """Hidden goals that are not to be named."""

    def goals(self) -> Iterator[GoalProgress]:
        """The goals that the user may see, in the order of the challenges file."""
        for goal, period, row in self._standings.values():
            if goal.goal_id in self._unseen or not (row or self._is_for_user(goal)):
                continue
            shown = self._shown(goal, period, row)
            masked = goal.secret and shown.status != "completed" and not self._reveal
            yield shown.model_copy(update=_MASK) if masked else shown

    def _standing(self, goal: Goal, now: int) -> _Standing:
        zone, period = goal.rule.timezone, ""
        if goal.rule.per:
            period = period_key(goal.rule.per, now, zone_of(self._attributes) or "UTC" if zone == USER_ZONE else zone)
        return _Standing(goal, period, self._by_key.get((goal.goal_id, period)))

    def _is_for_user(self, goal: Goal) -> bool:
        return not goal.segments or in_segments(self._attributes, goal.segments)

    def _shown(self, goal: Goal, period: str, row: Row | None) -> GoalProgress:
        goal, row = self._as_of_version(goal, row)
        status = _status(row)
        rule_version = row.rule_version if row else goal.version
        return GoalProgress(
            challenge_id=goal.challenge_id,
            goal_id=goal.goal_id,
            name=goal.name,
            description=goal.description,
            rule=None if self._names_unseen(goal.rule) else _text(goal.rule),
            period=period,
            progress=_progress(goal.rule, row),
            target=_plain(goal.rule.target),
            status=status,
            completed_at=to_datetime(row.completed_at) if row and row.completed_at else None,
            locked=status != "completed" and self._is_locked(goal),
            prerequisites=[other for other in goal.prerequisites if other not in self._unseen],
            hidden=goal.hidden,
            secret=goal.secret,
            active_from=None if goal.active_from is None else to_datetime(goal.active_from),
            active_until=None if goal.active_until is None else to_datetime(goal.active_until),
            parts=list(self._parts(goal, goal.goal_id, goal.rule)),
            rule_version=rule_version if self._versioned or row else None,
        )

    def _is_locked(self, goal: Goal) -> bool:
        if all(other in self._completed for other in goal.prerequisites):
            return False
        # The lock remembers what rows of past periods, which are not read, once said.
        return gate_id(goal.goal_id) not in self._completed

    def _as_of_version(self, goal: Goal, row: Row | None) -> tuple[Goal, Row | None]:
        """The version of the goal that a row is to be read by, and the row as far as it still counts."""
        if row is None or row.rule_version == goal.version:
            return goal, row
        before = self._version(goal.goal_id, row.rule_version) or goal
        if goal.on_change == "grandfather" or row.rule_version > goal.version:
            return before, row
        if goal.on_change == "keep" and goal.rule.can_keep(before.rule):
            return goal, row
        return (before, row) if row.completed_at else (goal, None)

    def _version(self, goal_id: str, version: int) -> Goal | None:
        known = (item.rulebook.by_id.get(goal_id) for item in reversed(self._publications.items))
        return next((goal for goal in known if goal and goal.version == version), None)

    def _parts(self, goal: Goal, own_id: str, rule: Rule) -> Iterator[PartProgress]:
        """The parts of a composite, or of a composite part, of a goal."""
        composite = self._by_key.get((own_id, ""))
        # A composite remembers of its parts what rows of past periods, which are not read, once said.
        times = composite.state[1:] if composite and composite.rule_version == goal.version else []
        for index, part in enumerate(rule.of, start=1):
            if isinstance(part, str):
                yield self._goal_part(part, done=any(times[index - 1 : index]))
            else:
                yield self._rule_part(goal, node_id(own_id, index), part)

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
        goal, _, row = self._standings.get(goal_id, (None, "", None))
        # A goal with periods is done as a part once any of its periods is complete.
        status: Status = "completed" if done or goal_id in self._completed else _status(row)
        secret = bool(goal and goal.secret) and status != "completed" and not self._reveal
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
        return 0 if rule.comparison == ">=" else None  # nothing is as little as can be
    progress = progress_of(row)
    return progress if isinstance(progress, int) else float(progress)


def _plain(number: float) -> Number:
    return int(number) if number == int(number) else number
