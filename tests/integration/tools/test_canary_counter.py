"""An event that takes effect twice: what the goals of a file cannot tell, the canary counter beside them does."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.exactness import prove as prove_load
from benchmarks.product import Product
from benchmarks.throughput import IncompleteError
from config.settings import Settings
from models.failpoints import now_us
from models.rules.calendar import microseconds
from tasks.rules.publications import read_file
from tests.support.publication import publish
from tests.support.stack import NOON, Stack
from tools.chaos.proof import prove
from tools.chaos.report import Damage, as_data, is_good
from tools.loadtest.canary_counter import is_canary_counter, write_with_canary_counter
from tools.loadtest.event_kinds import kinds_of
from tools.loadtest.generator import Shape, make_plan
from tools.loadtest.sender import SendReport

pytestmark = pytest.mark.slow

DAMAGE = Damage(1, 1.0, {"redis-killed": 1}, {}, {})


@pytest.fixture
def document(tmp_path):
    """The product's own challenges with a canary counter, as chaos runs and overload benchmarks have them."""
    return read_file(
        write_with_canary_counter(Settings().challenges_file, tmp_path / "challenges.json"), timedelta(days=7)
    )


@pytest.fixture
def stack(redis, engine, document):
    publish(engine, document, now_us=now_us())
    return Stack(redis, engine, rulebook=document.rulebook)


@pytest.fixture
def sent(stack, document):
    """Three hundred events of all kinds, each accepted, applied and flushed once."""
    shape = Shape(events=300, users=5, tenant_id="chaos")
    plan = make_plan(document.rulebook, shape, run="abc", now=microseconds(NOON))
    stack.post(*map(plan.event, range(plan.distinct)))
    stack.flusher.flush()
    return SendReport(plan, bytearray(b"\1" * plan.distinct), sent=plan.distinct, accepted=plan.distinct)


@pytest.fixture
def figures(sent, installation, monkeypatch):
    """What a chaos run would say."""
    monkeypatch.setattr("tools.chaos.proof._GRACE_S", 0.2)
    return lambda: as_data(DAMAGE, sent, prove(sent, installation, lambda _count: None))


def apply_again(stack, events):
    """Make Redis forget which ids it has seen, and send some again; PostgreSQL keeps one event of an id."""
    stack.redis.delete(*stack.redis.keys("ql:*:seen:*"))
    stack.post(*events)
    stack.flusher.flush()


def first_of_each_kind(plan):
    return [list(plan.kind).index(number) for number in range(len(plan.kinds))]


def test_every_kind_of_event_has_a_goal_that_counts_on_for_ever(document):
    canary_counters = [goal for goal in document.rulebook.goals if is_canary_counter(goal.goal_id)]
    waited_for = {kind.event_type for kind in kinds_of(document.rulebook, platform_only=False)}
    assert {event for goal in canary_counters for event in goal.rule.events} == waited_for
    assert all(goal.rule.op == "count" and goal.target == 10**15 for goal in canary_counters)
    assert len(canary_counters) == len(waited_for) > 5


def test_the_canary_counter_changes_no_event_of_a_load(document):
    given = read_file(Settings().challenges_file, timedelta(days=7)).rulebook
    shape = Shape(events=100, users=5, tenant_id="chaos")
    plans = [make_plan(rules, shape, run="abc", now=microseconds(NOON)) for rules in (given, document.rulebook)]
    first, second = ([plan.event(index) for index in range(plan.distinct)] for plan in plans)
    assert first == second


def test_what_counted_once_is_proved(figures, sent, installation):
    said = figures()
    assert (said["doubled"], said["rows_wrong"], said["audit_differences"]) == (0, 0, 0)
    assert is_good(said)
    assert prove_load(Product(installation, {}, Path()), sent)["doubled"] == 0


def test_an_effect_that_comes_twice_is_seen_whatever_the_kind_of_event(stack, figures, sent, installation):
    apply_again(stack, [sent.plan.event(index) for index in first_of_each_kind(sent.plan)])

    said = figures()

    assert said["doubled"] == len(sent.plan.kinds)
    assert said["counted"] == sent.plan.distinct == stack.count("events")  # the events themselves are there once
    assert not is_good(said)
    assert "counted 1 more than accepted" in json.dumps(said["examples"])
    with pytest.raises(IncompleteError, match=f" {len(sent.plan.kinds)} doubled"):
        prove_load(Product(installation, {}, Path()), sent)
