"""The most that one event may cost the live engine, by its type: steps, bytes.

A step is the work of a ``count`` that moves by one: seven to nine microseconds of Redis' processor time.
Other operators count as several, by what they look through in a state as large as it may become; what hangs on goals
counts as if all of it moved at once. docs/reference/rules.md has the weights.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from models.rules.graph import DependencyGraph, Node

EVENT_STEPS, USER_STEPS = 1, 2
"""What an event and a user cost beside the rules: ids to look up, a record to read and to write."""
_PERIODS = {"day": 12, "week": 4, "month": 3, None: 1}
"""Rows that a node may have at a time; those of past periods leave a record."""
_NUMBER_BYTES, _NODE_BYTES, _ROW_BYTES, _STEP_BYTES = 9, 64, 112, 16


class Cost(NamedTuple):
    """What one event costs."""

    steps: int
    size: int
    """Bytes that Redis reads and writes for it beside the event: its part of the apply request, and rows."""


@dataclass(slots=True)
class Costs:
    """The costs of events under one publication, worked out when they are asked for."""

    graph: DependencyGraph
    rows: int = field(init=False)
    """How many rows a user may have."""
    _weights: dict[Node, int] = field(default_factory=dict)
    _above: dict[str, int] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = sum(_PERIODS[node.rule.per] for node in self.graph.by_id.values() if node.has_row)

    def weight(self, node: Node) -> int:
        """The steps of one move of a node."""
        known = self._weights.get(node)
        if known is None:
            known = self._weights[node] = _weight(node, self.rows)
        return known

    def above(self, event_type: str) -> int:
        """The steps of all goals and composites that may move because an event of a type moves others."""
        known = self._above.get(event_type)
        if known is None:
            moved = above(_moved(self.graph, event_type))
            known = self._above[event_type] = sum(self.weight(node) * times for node, times in moved.items())
        return known

    def planned(self, event_type: str, nodes: Sequence[Node]) -> Cost:
        """The most that an event may cost that moves these nodes by itself; its user is not counted."""
        if not nodes:
            return Cost(EVENT_STEPS, 0)
        if event_type not in self._sizes:
            self._sizes[event_type] = self.of(event_type).size
        steps = EVENT_STEPS + sum(map(self.weight, nodes)) + self.above(event_type)
        return Cost(steps, self._sizes[event_type])

    def of(self, event_type: str) -> Cost:
        """The most that an event of a type may cost."""
        moved = _moved(self.graph, event_type)
        steps = sum(self.weight(node) * node.rule.steps_of(event_type) for node in moved)
        concerned = {*moved, *above(moved)}
        concerned |= {node.gate for node in concerned if node.gate is not None}
        size = sum(node_size(node) + _row_size(node) for node in concerned)
        size += _STEP_BYTES * sum(node.rule.steps_of(event_type) for node in moved)
        return Cost(EVENT_STEPS + USER_STEPS + steps + self.above(event_type), size)


def event_costs(graph: DependencyGraph) -> dict[str, Cost]:
    """The most that one event of each type may cost, the dearest type first."""
    costs = Costs(graph)
    found = {event_type: costs.of(event_type) for event_type in {*graph.by_event, *graph.grandfathered}}
    return dict(sorted(found.items(), key=lambda item: (-item[1].steps, -item[1].size, item[0])))


def above(moved: Iterable[Node]) -> dict[Node, int]:
    """What hangs on nodes that move: composites, and goals that waited for them, each with how often it may move."""
    found: dict[Node, int] = {}
    pending = list(dict.fromkeys(moved))
    seen = set(pending)
    while pending:
        node = pending.pop()
        for parent in node.parents:
            hanging = [parent.node] if parent.node.unlocks is None else [parent.node, parent.node.unlocks]
            for one in hanging:
                found[one] = found.get(one, 0) + 1
                if one not in seen:
                    seen.add(one)
                    pending.append(one)
    return found


def node_size(node: Node) -> int:
    """About how many bytes of an apply request a node takes."""
    parts = sum(len(part) + 3 for part in node.parts)
    return _NODE_BYTES + len(node.node_id) + len(node.goal.challenge_id) + parts + 4 * len(node.parents)


def _moved(graph: DependencyGraph, event_type: str) -> list[Node]:
    """The nodes that an event of a type may move: current, migrated and grandfathered ones."""
    own = graph.by_event.get(event_type, ())
    grandfathered = (older.node for older in graph.grandfathered.get(event_type, ()))
    return [*own, *(later for node in own for later in node.migrates_to), *grandfathered]


def _weight(node: Node, rows: int) -> int:
    own = _composite_weight(node, rows) if node.parts else node.rule.weight(node)
    if node.gate is not None:  # a goal that was reached asks all of its prerequisites
        own += 1 + len(node.gate.parts) // 4 + (rows // 20 if node.gate.periodic_parts else 0)
    return own * (_PERIODS[node.rule.per] if node.gate is not None else 1)


def _composite_weight(node: Node, rows: int) -> int:
    parts = len(node.parts)
    weight = 2 + parts // 4 + (rows // 20 if node.periodic_parts else 0)
    return weight if node.rule.within is None else weight + 12 * parts


def _row_size(node: Node) -> int:
    return _ROW_BYTES + 2 * len(node.node_id) + len(node.goal.challenge_id) + _NUMBER_BYTES * node.rule.state_size(node)
