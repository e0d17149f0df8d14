"""One user's progress in PostgreSQL against what the events mean."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from models.database.event_log import User
from models.rules.graph import DependencyGraph
from models.rules.matcher import Matcher
from models.rules.rows import Row
from tasks.audit.replay import Replayed
from tasks.audit.stored_progress import Key, StoredRow, StoredUser, as_stored

UNPUBLISHED, DROPPED = "goal is in no publication", "events are no longer all kept"
"""Why something was not compared."""
MISSING = "missing"
"""Stands for the side of a difference that has no such row or unlock."""


class Difference(NamedTuple):
    """Something that PostgreSQL has otherwise than the events say."""

    tenant_id: str
    user_id: str
    goal_id: str
    period: str
    what: str
    """``row``, ``unlock``, or the column of the row."""
    expected: Any
    found: Any
    """Values as JSON has them; ``missing`` for a row or an unlock that is not there."""


@dataclass(slots=True)
class Comparison:
    """What became of one user."""

    user: User
    events: int
    rows_equal: int = 0
    unlocks_equal: int = 0
    differences: list[Difference] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    """What was not compared, by the reason: rows and unlocks of a goal, or the whole user as one."""


class Comparer:
    """Compares users under the publications of a matcher."""

    def __init__(self, matcher: Matcher, *, kept_since: datetime | None = None) -> None:
        """``kept_since``: progress that began earlier may come from events that were dropped since."""
        self.matcher = matcher
        self._known = frozenset(name for graph in matcher.graphs for name in graph.by_id)
        self._exact = frozenset(name for name in self._known if _is_timed_exactly(matcher.graphs, name))
        self._kept_since = kept_since

    def compare(self, replayed: Replayed, stored: StoredUser) -> Comparison:
        """Compare one user."""
        result = Comparison(replayed.user, replayed.events)
        if self._kept_since and stored.since and stored.since < self._kept_since:
            result.skipped[DROPPED] += 1
            return result
        for key in replayed.rows.keys() | stored.rows.keys():
            if self._is_known(key, result):
                self._compare_rows(key, replayed.rows.get(key), stored.rows.get(key), result)
        completed = {(unlock.goal_id, unlock.period) for unlock in replayed.unlocks}
        for key in completed | stored.unlocks:
            if self._is_known(key, result):
                _compare_unlocks(key, key in completed, key in stored.unlocks, result)
        result.differences.sort(key=lambda difference: difference[:5])
        return result

    def is_known(self, key: Key) -> bool:
        """Whether any publication has the goal."""
        return key[0] in self._known

    def _is_known(self, key: Key, result: Comparison) -> bool:
        if self.is_known(key):
            return True
        result.skipped[UNPUBLISHED] += 1
        return False

    def _compare_rows(self, key: Key, row: Row | None, found: StoredRow | None, result: Comparison) -> None:
        times = key[0] in self._exact
        expected = None if row is None else _said(as_stored(row), times=times)
        actual = None if found is None else _said(found, times=times)
        if expected is None or actual is None:
            result.differences.append(
                Difference(*result.user, *key, "row", _summary(expected), _summary(actual)),
            )
            return
        differences = list(_unequal(expected, actual))
        result.differences += [Difference(*result.user, *key, *difference) for difference in differences]
        result.rows_equal += not differences


def _is_timed_exactly(graphs: list[DependencyGraph], name: str) -> bool:
    """Whether completion has one moment whatever the order of arrival: also through versions of it and its parts."""
    versions = [graph.by_id[name] for graph in graphs if name in graph.by_id]
    node = versions[0]
    below = [*node.parts, *([node.gate.node_id] if node.gate else [])]
    single = len({version.version for version in versions}) == 1
    return single and node.is_exact and all(_is_timed_exactly(graphs, part) for part in below)


def _said(row: StoredRow, *, times: bool) -> dict[str, Any]:
    names = ("progress", "status", "rule_version", "operator", "state", "slots", "is_part")
    said = {name: getattr(row, name) for name in names} | {"is_reached": row.reached_at is not None}
    if times and not row.slots:
        said |= {"reached_at": row.reached_at, "completed_at": row.completed_at}
    return said


def _unequal(expected: dict[str, Any], found: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in expected.keys() & found.keys():
        if expected[name] != found[name]:
            yield name, _shown(expected[name]), _shown(found[name])


def _compare_unlocks(key: Key, expected: bool, found: bool, result: Comparison) -> None:
    if expected and found:
        result.unlocks_equal += 1
        return
    said = "unlocked" if expected else MISSING, "unlocked" if found else MISSING
    result.differences.append(Difference(*result.user, *key, "unlock", *said))


def _summary(row: dict[str, Any] | None) -> str:
    return MISSING if row is None else f"{row['progress']} {row['status']}"


def _shown(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    return value.isoformat() if isinstance(value, datetime) else value
