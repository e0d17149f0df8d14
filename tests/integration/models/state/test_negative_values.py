"""Negative values: an `absolute` goal skips them, as the system replaced does; `latest` takes them."""

import pytest

from models.rules.challenge_file.parser import parse_challenges
from models.rules.engine import apply_all
from models.rules.operators import progress_of
from tests.support.stack import Stack

FILE = b"""{"challenges": [{"id": "c", "name": "c", "goals": [
  {"id": "bar", "name": "bar", "type": "absolute", "event_source": "statistic:bar", "requirement": {"target": 100}},
  {"id": "newest", "name": "newest", "rule": "latest(statistic:bar) >= 100"}]}]}"""
RULEBOOK = parse_challenges(FILE, "f.json")


@pytest.mark.parametrize(
    ("values", "bar", "newest"),
    [
        ([-10], None, -10),
        ([0], 0, 0),
        ([-0.0], 0, 0),
        ([50, -10], 50, -10),
        ([-10, 50], 50, 50),
        ([50, 0], 0, 0),
        ([150, -1], 150, -1),
    ],
)
def test_both_engines_agree_on_what_a_negative_value_moves(redis, engine, values, bar, newest):
    stack = Stack(redis, engine, RULEBOOK)
    events = []
    for value in values:
        stack.clock.advance(seconds=1)
        events.append(stack.event("statistic:bar", value=value))
        stack.post(events[-1])
    live = {goal_id: progress for (goal_id, _), (progress, _) in stack.progress().items()}
    assert (live.get("bar"), live["newest"]) == (bar, newest)
    told = {goal_id: progress_of(row) for (goal_id, _), row in apply_all(RULEBOOK, events).items()}
    assert told == live
