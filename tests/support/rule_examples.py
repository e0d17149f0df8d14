"""Random rules that a challenges file may hold, for the laws that must hold for all of them."""

from hypothesis import strategies as st

from models.rules.operators import OPERATORS, make_rule
from models.rules.rule import Condition

_EDGE_NAMES = [
    "where",
    "count",
    "event",
    "of",
    "k",
    "not",
    "per",
    "7d",
    "a b",
    "it's",
    "ünï",
    "a/b",
    "\U0001f600",
    "x:y-z.1",
]
NAMES = st.sampled_from(["login", "lesson.completed", "statistic:level", *_EDGE_NAMES]) | st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=8
)
PATHS = st.lists(NAMES.filter(lambda name: "." not in name), min_size=1, max_size=3).map(
    lambda steps: "payload." + ".".join(steps)
)
NUMBER_FIELDS = st.sampled_from(["value", "increment"]) | PATHS
DURATIONS = st.integers(1, 3660 * 86_400_000_000) | st.integers(1, 3660).map(lambda days: days * 86_400_000_000)
ZONES = st.sampled_from(["UTC", "user", "Europe/Berlin", "America/Port-au-Prince", "Etc/GMT+5", "GMT+0", "EST5EDT"])
WHOLE = st.integers(1, 2**53)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(-(2**52), 2**52).map(lambda x: int(x) if x == int(x) else x)
POSITIVE = NUMBERS.filter(lambda number: number > 0)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
SCALARS = NUMBERS | TEXTS | st.booleans() | st.none()


@st.composite
def conditions(draw):
    """One condition; on its own it can hold."""
    cmp = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in"]))
    field = draw(NUMBER_FIELDS | st.sampled_from(["source", "event_id"]))
    kinds = {"source": TEXTS, "event_id": TEXTS, "value": NUMBERS, "increment": NUMBERS}
    one = kinds.get(field, NUMBERS | TEXTS if cmp in ("<", "<=", ">", ">=") else SCALARS)
    value = tuple(draw(st.lists(one, min_size=1, max_size=3))) if cmp.endswith("in") else draw(one)
    return Condition(field, cmp, value)


WHERES = st.lists(conditions(), max_size=2, unique_by=lambda condition: condition.field).map(tuple)


@st.composite
def leaves(draw, *, periods=False):
    """A rule on events; with ``periods`` also such as go by them."""
    op = draw(st.sampled_from([op for op, rule in OPERATORS.items() if not rule.is_composite]))
    made = {"op": op, "where": draw(WHERES)}
    if op == "sequence":
        events = tuple(draw(st.lists(NAMES, min_size=2, max_size=4)))
        return make_rule(**made, events=events, target=len(events), within=draw(st.none() | DURATIONS))
    made["events"] = (draw(NAMES),)
    targets = {"count": WHOLE, "streak": WHOLE, "days": WHOLE, "distinct": st.integers(1, 256), "sum": POSITIVE}
    made["target"] = draw(targets.get(op, NUMBERS))
    if op == "streak":
        unit = draw(st.sampled_from(["day", "week"]))
        return make_rule(**made, unit=unit, grace=draw(st.integers(0, 30)), timezone=draw(ZONES))
    if op == "days":
        unit = draw(st.sampled_from(["day", "week", "month"]))
        return make_rule(**made, unit=unit, min=draw(WHOLE), timezone=draw(ZONES))
    if op != "count":
        made["field"] = draw(NUMBER_FIELDS if op == "distinct" else st.none() | NUMBER_FIELDS)
    if periods and draw(st.booleans()):
        return make_rule(**made, per=draw(st.sampled_from(["day", "week", "month"])), timezone=draw(ZONES))
    return make_rule(**made, **({"last": draw(st.none() | DURATIONS)} if op == "count" else {}))


@st.composite
def composites(draw, levels=3):
    """A composite of goals and rules."""
    nested = leaves() if levels == 1 else leaves() | composites(levels - 1)
    of = tuple(draw(st.lists(NAMES | nested, min_size=1, max_size=4)))
    op = draw(st.sampled_from(["all", "any", "at_least"]))
    target = {"all": len(of), "any": 1}.get(op) or draw(st.integers(1, len(of)))
    return make_rule(op=op, of=of, target=target, within=draw(st.none() | DURATIONS))


RULES = leaves(periods=True) | composites()
