"""Compiles a rulebook into the dependency graph that both engines execute.

A goal's own rule is the node with the goal's id; a nested part is ``<id>#<n>``, counted from 1; the prerequisites of a
goal are one more node, ``<goal id>#gate``, that is complete once they all are, and has a row only where one of them
has periods: a completed period may be gone from Redis when it is asked for. Nodes that look at events move by
them; composites move when a part of theirs is completed (or, with ``within``, moved).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import NamedTuple

from models.rules.goals import Goal, Rulebook
from models.rules.operators import make_rule
from models.rules.rule import USER_ZONE, Rule

NEVER = 2**53
"""A time after all others."""


class Parent(NamedTuple):
    """A composite that a node is a part of, and the part's position in it, from 1."""

    node: "Node"
    position: int
    is_current: bool
    """False: it is of a later publication than the node, whose events move it only once it is there."""


@dataclass(eq=False, slots=True)
class Node:
    """One rule of one publication. Compared by identity: each publication has nodes of its own."""

    node_id: str
    goal: Goal
    rule: Rule
    is_part: bool
    ends_at: int
    """From when on (µs) a later version holds."""
    parts: tuple[str, ...] = ()
    """Of a composite: the ids of its parts' nodes."""
    periodic_parts: frozenset[str] = frozenset()
    """Those of them that have a row for each period: they count once any is complete."""
    exact_parts: frozenset[str] = frozenset()
    """Those of them whose time of completion is a function of the set of events."""
    is_exact: bool = False
    """Whether the time at which its target is reached is a function of the set of events, whatever their order."""
    gate: "Node | None" = None
    """The node of the goal's prerequisites, at the goal's own node."""
    unlocks: "Node | None" = None
    """The goal's own node, at the node of its prerequisites."""
    timed: bool = False
    """A ``count`` that knows when it was reached whatever the order of arrival: needed within a duration."""
    kept_times: int = 0
    """``last``: how many times it must remember so that late events find what they need."""
    is_choosy: bool = False
    """Whether an event of its type may still not count: for a condition, a segment, or the time."""
    keeps_from: int = 0
    """The oldest version whose progress this one goes on from; 0: it begins anew."""
    grandfathered_versions: tuple[int, ...] = ()
    """Versions of the node, older and newer ones too, that users in progress stay on although there is a later one."""
    parents: list[Parent] = field(default_factory=list)
    migrates_to: "list[Node]" = field(default_factory=list)
    """The same node under later versions that carry its progress on."""

    @property
    def reducer(self) -> str:
        """The name of the function that moves the state; ``count`` has three."""
        return self.rule.reducer(timed=self.timed)

    @property
    def version(self) -> int:
        """The published version of the goal."""
        return self.goal.version

    @property
    def has_row(self) -> bool:
        """Whether it keeps anything: prerequisites without periods are known from their own rows."""
        return self.unlocks is None or bool(self.periodic_parts)

    @property
    def periodic(self) -> bool:
        """Whether it has a row for each period."""
        return self.rule.per is not None


class GrandfatheredNode(NamedTuple):
    """A node of a version that users in progress stay on."""

    node: Node
    closes_at: int
    """From when on (µs) no event can come any more that shows a user to have been in progress before."""


@dataclass(slots=True)
class DependencyGraph:
    """The nodes of one publication."""

    by_id: dict[str, Node]
    by_event: Mapping[str, tuple[Node, ...]]
    """The nodes that an event of a type may move."""
    grandfathered: Mapping[str, tuple["GrandfatheredNode", ...]] = field(default_factory=dict)
    """By event type: nodes of versions before, for users who stay on the version they are in."""
    attribute_names: frozenset[str] = frozenset()
    """What the rules ask of users; ``timezone`` among them where a rule goes by the user's own."""


def node_id(parent_id: str, position: int) -> str:
    """The id of a nested part by its position, from 1."""
    return f"{parent_id}#{position}"


def gate_id(goal_id: str) -> str:
    """The id of the node of a goal's prerequisites."""
    return f"{goal_id}#lock"


def compile_graph(rulebook: Rulebook, *, ends_at: Mapping[str, int] | None = None) -> DependencyGraph:
    """The nodes of a rulebook; ``ends_at`` says from when on (µs) a goal's next version holds."""
    ends = ends_at or {}
    by_id: dict[str, Node] = {}
    for goal in rulebook.goals:
        end = ends.get(goal.goal_id, NEVER)
        root = _add(by_id, Node(goal.goal_id, goal, goal.rule, is_part=False, ends_at=end))
        if goal.prerequisites:
            rule = make_rule("all", of=goal.prerequisites, target=len(goal.prerequisites))
            root.gate = _add(by_id, Node(gate_id(goal.goal_id), goal, rule, is_part=True, ends_at=end))
            root.gate.unlocks = root
    _link(by_id)
    _mark_exact(by_id)
    by_event: defaultdict[str, list[Node]] = defaultdict(list)
    for node in by_id.values():
        for event in dict.fromkeys(node.rule.events):
            by_event[event].append(node)
    return DependencyGraph(
        by_id, {event: tuple(nodes) for event, nodes in by_event.items()}, attribute_names=_names(rulebook)
    )


def _add(by_id: dict[str, Node], node: Node) -> Node:
    """Add a node and those of its nested parts."""
    parts = []
    for position, part in enumerate(node.rule.of, start=1):
        if isinstance(part, Rule):
            part_id = node_id(node.node_id, position)
            _add(by_id, Node(part_id, node.goal, part, is_part=True, ends_at=node.ends_at))
            parts.append(part_id)
        else:
            parts.append(part)
    node.parts = tuple(parts)
    by_id[node.node_id] = node
    return node


def _link(by_id: dict[str, Node]) -> None:
    """Tell parts what they are parts of, and nodes what is asked of them."""
    for node in by_id.values():
        for position, part in enumerate(node.parts, start=1):
            by_id[part].parents.append(Parent(node, position, is_current=True))
        node.periodic_parts = frozenset(part for part in node.parts if by_id[part].periodic)
        if node.rule.within is not None and node.parts:
            _mark_timed(by_id, node)
        goal = node.goal
        limited = goal.active_from is not None or goal.active_until is not None
        node.is_choosy = bool(node.rule.where or goal.segments or limited)


def _mark_exact(by_id: dict[str, Node]) -> None:
    """Parts before what they are part of: a composite is as exact as its parts, and all its parts must be known."""
    needs = {name: set(node.parts) | ({node.gate.node_id} if node.gate else set()) for name, node in by_id.items()}
    completes_exactly: set[str] = set()
    for name in TopologicalSorter(needs).static_order():
        node = by_id[name]
        node.exact_parts = frozenset(completes_exactly.intersection(node.parts))
        if node.parts:
            node.is_exact = node.rule.within is None and len(node.exact_parts) == len(set(node.parts))
        else:
            node.is_exact = node.rule.knows_time(timed=node.timed)
        if node.is_exact and (node.gate is None or node.gate.is_exact):
            completes_exactly.add(name)


def _mark_timed(by_id: dict[str, Node], node: Node) -> None:
    """All nodes below a composite with a duration; one with prerequisites also waits for theirs."""
    below = [by_id[part] for part in node.parts]
    for part in below + ([node.gate] if node.gate else []):
        if not part.timed:
            part.timed = True
            _mark_timed(by_id, part)


def _names(rulebook: Rulebook) -> frozenset[str]:
    names = {name for goal in rulebook.goals for name in goal.segments}
    if any(rule.timezone == USER_ZONE for goal in rulebook.goals for rule in _all_rules(goal.rule)):
        names.add("timezone")
    return frozenset(names)


def _all_rules(rule: Rule) -> Iterator[Rule]:
    yield rule
    for part in rule.of:
        if isinstance(part, Rule):
            yield from _all_rules(part)
