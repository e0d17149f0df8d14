"""Hypothesis strategies for rule sets, their changes, and the events they look at."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import strategies as st

from models.events import Event
from models.rules.calendar import microseconds
from models.rules.goals import Goal, Publication, Publications, Rulebook
from models.rules.graph import compile_graph
from models.rules.operators import OPERATORS, make_rule
from models.rules.rule import Condition

HOUR = 3_600_000_000
START = microseconds(datetime(2026, 10, 20, tzinfo=UTC))
"""Five days before Europe's clocks go back."""
HOURS = 200
"""How far apart the events of a list lie: within what is accepted late."""

_TYPES = st.sampled_from(["x", "x", "y", "z"])
_ZONES = st.sampled_from(["UTC", "user", "Europe/Berlin", "Pacific/Kiritimati"])
_WHERE = st.sampled_from(
    [
        (),
        (),
        (Condition("payload.kind", "==", "a"),),
        (Condition("value", ">=", 1), Condition("payload.kind", "in", ("a", "b"))),
    ]
)
_NUMBERS = st.one_of(
    st.integers(-3, 6), st.sampled_from([0.5, 2.25, 1e-9, 700_000.5, 700_000.5]), st.integers(-(2**53), 2**53)
)
_TIMES = st.one_of(st.integers(0, HOURS), st.integers(0, HOURS // 24).map(lambda day: 24 * day))


LEAVES = (*(op for op, rule in OPERATORS.items() if not rule.is_composite), "last")


@st.composite
def leaves(draw, *, periods=False, ops=LEAVES):
    """A rule that looks at events."""
    op = draw(st.sampled_from(ops))
    more = {"events": (draw(_TYPES),), "where": draw(_WHERE), "target": draw(st.integers(1, 4))}
    if op == "last":
        return make_rule(op="count", last=draw(st.integers(1, 60)) * HOUR, **more)
    if op == "streak":
        unit = draw(st.sampled_from(["day", "week"]))
        return make_rule(op=op, unit=unit, grace=draw(st.integers(0, 2)), timezone=draw(_ZONES), **more)
    if op == "days":
        unit = draw(st.sampled_from(["day", "week", "month"]))
        return make_rule(op=op, unit=unit, min=draw(st.integers(1, 3)), timezone=draw(_ZONES), **more)
    if op == "sequence":
        events = tuple(draw(st.lists(_TYPES, min_size=2, max_size=3)))
        within = draw(st.none() | st.integers(1, 100).map(lambda hours: hours * HOUR))
        return make_rule(op=op, events=events, target=len(events), within=within, where=more["where"])
    if op == "distinct":
        return make_rule(op=op, field=draw(st.sampled_from(["value", "payload.kind"])), **more)
    if periods and draw(st.booleans()):
        more |= {"per": draw(st.sampled_from(["day", "week", "month"])), "timezone": draw(_ZONES)}
        more |= {"stops_at_target": draw(st.booleans())} if op == "count" else {}
    if op == "sum":
        more["target"] = draw(st.sampled_from([0.5, 3, 7.25]))
    return make_rule(op=op, **more)


@st.composite
def composites(draw, known, ops=LEAVES):
    """A rule over goals that are known, and nested rules."""
    part = st.sampled_from(known) | leaves(ops=ops) if known else leaves(ops=ops)
    parts = tuple(draw(st.lists(part | _nested(part), min_size=1, max_size=4)))
    op = draw(st.sampled_from(["all", "any", "at_least"]))
    target = {"all": len(parts), "any": 1}.get(op) or draw(st.integers(1, len(parts)))
    within = draw(st.none() | st.integers(1, 60).map(lambda hours: hours * HOUR))
    return make_rule(op=op, of=parts, target=target, within=within)


def _nested(part):
    lists = st.lists(part, min_size=1, max_size=2).map(tuple)
    return lists.map(lambda parts: make_rule(op="any", of=parts, target=1))


@st.composite
def rulebooks(draw, *, max_goals=5, ops=LEAVES, flat=False):
    """Goals of every kind, each over those before it; ``flat``: none of them over others."""
    goals: list[Goal] = []
    for number in range(draw(st.integers(1, max_goals))):
        known = [goal.goal_id for goal in goals]
        over = not flat and draw(st.booleans())
        rule = draw(composites(known, ops) if over else leaves(periods=True, ops=ops))
        needed = draw(st.lists(st.sampled_from(known), unique=True, max_size=2)) if known and not flat else []
        goals.append(_possible([*goals, _goal(draw, f"g{number}", rule, tuple(needed))]))
    return Rulebook(tuple(goals))


def _goal(draw, goal_id, rule, prerequisites=()):
    limited = draw(st.integers(0, 4)) == 0 and rule.events
    return Goal(
        goal_id=goal_id,
        challenge_id="c",
        name=goal_id,
        rule=rule,
        prerequisites=prerequisites,
        active_from=START + 50 * HOUR if limited else None,
        segments={"plan": ("pro", 1)} if limited else {},
    )


def _possible(goals):
    """The last goal, without its duration where a part's moment is not known: such files are refused."""
    goal = goals[-1]
    node = compile_graph(Rulebook(tuple(goals))).by_id[goal.goal_id]
    if goal.rule.of and goal.rule.within is not None and not set(node.parts) <= node.exact_parts:
        return replace(goal, rule=replace(goal.rule, within=None))
    return goal


@st.composite
def histories(draw):
    """Publications of one set of goals, whose meaning changes from one to the next."""
    goals = [_goal(draw, f"g{number}", draw(leaves(periods=True))) for number in range(draw(st.integers(1, 3)))]
    items, active_from = [Publication(1, 0, Rulebook(tuple(goals)))], START
    for revision in range(2, draw(st.integers(2, 3)) + 1):
        active_from += draw(st.integers(1, 80)) * HOUR
        goals = [_changed(draw, goal) for goal in goals]
        items.append(Publication(revision, active_from, Rulebook(tuple(goals))))
    return Publications(tuple(items))


def _changed(draw, goal):
    """The goal as it was, or its next version, with another target."""
    if draw(st.booleans()) or goal.rule.op == "sequence":
        return goal
    target = draw(st.integers(1, 5))
    policy = draw(st.sampled_from(["keep", "restart", "grandfather"]))
    return replace(goal, rule=replace(goal.rule, target=target), on_change=policy, version=goal.version + 1)


@st.composite
def events(draw, *, max_size=14, user="u"):
    """Events of one user, no two with the same id."""
    made = []
    for number in range(draw(st.integers(1, max_size))):
        kind = draw(st.sampled_from(["", '{"kind":"a"}', '{"kind":"b"}', '{"kind":7}']))
        made.append(
            Event(
                event_id=f"e{number}",
                event_type=draw(_TYPES),
                tenant_id="t",
                user_id=user,
                occurred_at=START + draw(_TIMES) * HOUR,
                accepted_at=START + HOURS * HOUR,
                value=draw(st.none() | _NUMBERS),
                increment=draw(st.none() | st.integers(-2, 3)),
                payload=kind.encode(),
                timezone=draw(st.sampled_from([None, "Asia/Tokyo", "America/New_York"])),
                attributes=draw(st.sampled_from([b"", b'{"plan":"pro"}', b'{"plan":true}'])),
            )
        )
    return made
