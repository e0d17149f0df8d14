"""From an event to its steps: which nodes it moves, in which period, by how much.

Both engines start here, so they can only differ in what a step does to a row (``operators/``, ``lua/``).
"""

from collections.abc import Sequence

from models.events import Event
from models.rules.calendar import period_key
from models.rules.costs import Cost, Costs
from models.rules.fields import EventFields
from models.rules.goals import Goal, Publications, Rulebook, only
from models.rules.graph import DependencyGraph, Node
from models.rules.rule import USER_ZONE, Rule, Step
from models.rules.versions import compile_all
from models.wire import Mode

DEFAULT_LATENESS_US = 9 * 86_400_000_000
"""The accepted lateness and the margin of waiting batches, where nothing else is said."""


class Matcher:
    """Finds the steps of events under the publications they fall under."""

    def __init__(self, publications: Publications, *, lateness_us: int = DEFAULT_LATENESS_US) -> None:
        self.publications = publications
        self.graphs = compile_all(publications, lateness_us)
        self._single = self.graphs[0] if len(self.graphs) == 1 else None
        self._costs = {id(graph): Costs(graph) for graph in self.graphs}

    @property
    def attribute_names(self) -> frozenset[str]:
        """The user attributes that any of the rules asks for."""
        return frozenset().union(*(graph.attribute_names for graph in self.graphs))

    def graph_at(self, occurred_at: int, revision: int | None = None) -> DependencyGraph:
        """The nodes that an event of a time (µs) falls under; ``revision``: the newest known when it was applied."""
        return self._single or self.graphs[self.publications.index_at(occurred_at, revision)]

    def cost(self, event: Event, steps: Sequence[Step]) -> Cost:
        """The most that the steps of an event may cost the live engine."""
        return self._costs[id(self.graph_at(event.occurred_at))].planned(event.event_type, [s.node for s in steps])

    def steps(self, event: Event, revision: int | None = None) -> list[Step]:
        """The steps of an event, in the rulebook's order."""
        graph = self.graph_at(event.occurred_at, revision)
        steps: list[Step] = []
        fields = EventFields(event)
        for node in graph.by_event.get(event.event_type, ()):
            current = _steps_of(node, event, fields, Mode.CURRENT)
            steps += current
            for later in node.migrates_to:
                steps += [step._replace(node=later, mode=Mode.MIGRATED) for step in current]
        for older in graph.grandfathered.get(event.event_type, ()):
            mode = Mode.GRANDFATHERED if event.occurred_at < older.closes_at else Mode.GRANDFATHERED_LATE
            steps += _steps_of(older.node, event, fields, mode)
        return steps


def always(rulebook: Rulebook) -> Matcher:
    """A matcher for a rulebook that never changed."""
    return Matcher(only(rulebook))


def _steps_of(node: Node, event: Event, fields: EventFields, mode: Mode) -> list[Step]:
    rule = node.rule
    if node.is_choosy and not _counts(node.goal, rule, event, fields):
        return []
    zone = (event.timezone or "UTC") if rule.timezone == USER_ZONE else rule.timezone
    period = period_key(rule.per, event.occurred_at, zone) if rule.per else ""
    amounts = rule.amounts(event, fields, zone)
    return [Step(node, mode, period, amount, low) for amount, low in amounts]


def _counts(goal: Goal, rule: Rule, event: Event, fields: EventFields) -> bool:
    if goal.active_from is not None and event.occurred_at < goal.active_from:
        return False
    if goal.active_until is not None and event.occurred_at >= goal.active_until:
        return False
    if goal.segments and not fields.in_segments(goal.segments):
        return False
    return not rule.where or fields.meet(rule.where)
