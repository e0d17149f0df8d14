"""The cost of a challenges file: stated when published, refused past a bound."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Engine

from config.settings import Settings
from models.database.rules.publications import load
from models.database.rules.publisher import Published
from models.errors import ConfigurationError, RulesTooCostlyError
from models.rules.costs import Cost, event_costs
from models.rules.goals import Publication, Publications, Rulebook, only
from models.rules.versions import compile_all
from tasks.rules.publications import parse_stored, reach_us

SHOWN = 10
"""Event types that are named in a text; JSON has them all."""
LATE_LIMIT = Cost(steps=2_000, size=2 << 20)
"""What a late event may cost while rules change. Fixed: else two corrections in a week would have to wait for each
other.
"""
EventCosts = Mapping[str, Cost]
"""The most that one event of each type may cost, the dearest type first."""


@dataclass(frozen=True, slots=True)
class CostBound:
    """How much one event may cost."""

    limit: Cost
    reach_us: int
    """How old an event may be that is applied."""

    def require(self, rulebook: Rulebook) -> EventCosts:
        """The costs of a rulebook that holds for all events.

        Raises:
            RulesTooCostlyError: an event type costs too much, in one line each.
        """
        costs = event_costs(compile_all(only(rulebook), self.reach_us)[0])
        _refuse(
            costs, self.limit, "give it fewer goals, shorter ids or cheaper operators, or spread them over more types"
        )
        return costs

    def require_after(self, engine: Engine, rulebook: Rulebook, coming: Published, *, now_us: int) -> EventCosts:
        """The same once a rulebook follows what was published, whose progress its goals may carry on.

        Raises:
            RulesTooCostlyError: as above, or for late events, which move the versions of their time and later ones.
            DatabaseUnavailableError: PostgreSQL did not answer.
        """
        costs = self.require(rulebook)
        try:
            known = load(engine, parse_stored, since_us=now_us - self.reach_us).items
        except ConfigurationError:  # it is the first, or no other can be read
            return costs
        given = {goal.goal_id: goal for goal in coming.goals}
        goals = tuple(
            replace(goal, version=given[goal.goal_id].version, on_change=given[goal.goal_id].policy or goal.on_change)
            for goal in rulebook.goals
        )
        following = Publication(coming.revision, coming.active_from, Rulebook(goals))
        for graph in compile_all(Publications((*known, following)), self.reach_us):
            late = {name: cost for name, cost in event_costs(graph).items() if name in costs}
            _refuse(late, LATE_LIMIT, "with the versions before; change fewer goals at once, or wait for MAX_LATENESS")
        return costs


def cost_bound(settings: Settings) -> CostBound:
    """The bound that the settings name."""
    return CostBound(Cost(settings.rules_max_steps, settings.rules_max_bytes), reach_us(settings))


def cost_lines(costs: EventCosts) -> list[str]:
    """The costs as people read them."""
    named = list(costs.items())[:SHOWN]
    lines = [f"one event of {name} costs at most {cost.steps:,} steps, {cost.size:,} bytes" for name, cost in named]
    more = len(costs) - len(named)
    return [*lines, f"and {more:,} more event types cost no more"] if more else lines


def cost_data(costs: EventCosts, bound: CostBound) -> dict[str, Any]:
    """The costs as JSON has them."""
    return {
        "limit": {"steps": bound.limit.steps, "bytes": bound.limit.size},
        "event_types": {name: {"steps": cost.steps, "bytes": cost.size} for name, cost in costs.items()},
    }


def _refuse(costs: EventCosts, limit: Cost, advice: str) -> None:
    over = [(name, cost) for name, cost in costs.items() if cost.steps > limit.steps or cost.size > limit.size]
    if not over:
        return
    lines = [
        f"event type {name!r}: one event may cost {cost.steps:,} steps and {cost.size:,} bytes; allowed are "
        f"{limit.steps:,} (RULES_MAX_STEPS) and {limit.size:,} (RULES_MAX_BYTES): {advice}"
        for name, cost in over[:SHOWN]
    ]
    if len(over) > SHOWN:
        lines.append(f"and {len(over) - SHOWN:,} more event types")
    raise RulesTooCostlyError("\n".join(lines))
