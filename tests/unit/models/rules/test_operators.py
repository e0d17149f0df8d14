"""The reference operators, case by case; ``tests/integration/models/state/test_two_engines.py`` holds Lua to them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.errors import MalformedBatchError
from models.events import EARLIEST, MAX_EXACT, MAX_TEXT_BYTES, Event, identity_hash, pack_batch, unpack_batch
from models.rules.calendar import microseconds, period_key, to_datetime
from models.rules.engine import apply_all
from models.rules.goals import Rulebook
from models.rules.matcher import DEFAULT_LATENESS_US
from models.rules.operators import make_rule, progress_of
from models.rules.rule import Condition
from models.state.keys import dedup_bucket_at, member, record_key, seen_key
from tests.support.operator_cases import CASES, events_of, hour_of, rulebook_of
from tests.support.stack import goal

NOON = microseconds(datetime(2026, 11, 21, 12, tzinfo=UTC))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_reference_measures(case):
    rows = apply_all(rulebook_of(case), events_of(case))
    assert {key: (progress_of(row), hour_of(row.completed_at)) for key, row in rows.items()} == case.rows


def test_a_count_that_stops_at_its_target_shows_no_more():
    rulebook = Rulebook((goal("g", "count", "e", target=2, stops_at_target=True),))
    events = [Event(f"e{number}", "e", "t", "u", NOON + number, NOON) for number in range(3)]
    row = apply_all(rulebook, events)["g", ""]
    assert (progress_of(row), row.state, row.completed_at) == (2, [2, 3], NOON + 1)


def test_days_remember_no_more_of_them_than_events_may_still_come_for():
    rulebook = Rulebook((goal("g", "days", "e", unit="day", target=99),))
    day = 86_400_000_000
    events = [Event(f"e{number}", "e", "t", "u", NOON + number * day, NOON) for number in range(40)]
    late = [Event("late", "e", "t", "u", NOON + 3 * day, NOON), Event("later", "e", "t", "u", NOON + 30 * day, NOON)]
    row = apply_all(rulebook, events + late)["g", ""]
    kept = make_rule("days", unit="day").kept_times(DEFAULT_LATENESS_US)
    assert (progress_of(row), len(row.state)) == (40, 1 + 2 * kept)


def test_a_repeated_event_counts_once():
    rulebook = Rulebook((goal("g", "count", "e", target=5),))
    assert progress_of(apply_all(rulebook, [Event("e", "e", "t", "u", NOON, NOON)] * 3)["g", ""]) == 1


def test_events_at_the_same_instant_are_told_apart_by_their_ids_in_any_order():
    rulebook = Rulebook((goal("g", "latest", "e", target=9),))
    events = [Event(f"e{number}", "e", "t", "u", NOON, NOON, number) for number in range(3)]
    assert apply_all(rulebook, events)["g", ""].state == apply_all(rulebook, events[::-1])["g", ""].state


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_microseconds_are_exact_both_ways_and_a_day_is_its_utc_date(at):
    assert to_datetime(microseconds(at)) == at
    assert period_key("day", microseconds(at)) == at.date().isoformat()


def test_a_goals_digest_changes_with_its_meaning_only():
    first = goal("g", "count", "e", target=5)
    for same in (
        {"name": "other", "description": "d", "reward": {"a": 1}, "hidden": True, "secret": True},
        {"rule": replace(first.rule, target=5.0)},
        {"version": 7, "on_change": "restart"},
    ):
        assert first.digest == replace(first, **same).digest
    for change in (
        {"rule": replace(first.rule, stops_at_target=True)},
        {"rule": replace(first.rule, target=6)},
        {"rule": replace(first.rule, events=("f",))},
        {"rule": make_rule("sum", events=("e",), target=5)},
        {"rule": replace(first.rule, per="day")},
        {"rule": replace(first.rule, where=(Condition("value", ">", 1),))},
        {"prerequisites": ("other",)},
        {"segments": {"plan": ("pro",)}},
        {"active_until": NOON},
    ):
        assert first.digest != replace(first, **change).digest


@given(st.lists(st.tuples(st.text(min_size=1), st.floats(-MAX_EXACT, MAX_EXACT) | st.none()), min_size=1, max_size=5))
def test_a_batch_survives_packing(data):
    data = [(name.encode("utf-8", "ignore").decode(), value) for name, value in data]
    events = [Event(name, "e", "t", "u", NOON, NOON, value, None, None, b"{}") for name, value in data]
    assert unpack_batch(pack_batch(events)) == events


@pytest.mark.parametrize("junk", [b"", b"\xc1", b"\x01", b"\x91\x01", b"\x91\x91\x01", b"{}", b"\x90", b"\x91\x80"])
def test_bytes_that_are_no_batch_are_named_so(junk):
    with pytest.raises(MalformedBatchError):
        unpack_batch(junk)


EVENT = Event("e1", "login", "t1", "u1", NOON, NOON, 1.5, None, "test", b"{}", None, b"")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=300) | st.binary(),
    lambda inner: st.lists(inner, max_size=13) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


def is_event(event):
    texts = (event.event_id, event.event_type, event.tenant_id, event.user_id, event.source or "", event.timezone or "")
    return (
        all(type(text) is str and len(text.encode()) <= MAX_TEXT_BYTES for text in texts)
        and type(event.occurred_at) is int
        and EARLIEST <= event.occurred_at <= MAX_EXACT
        and type(event.accepted_at) is int
        and 0 <= event.accepted_at <= MAX_EXACT
        and all(one is None or -MAX_EXACT <= one <= MAX_EXACT for one in (event.value, event.increment))
        and type(event.payload) is type(event.attributes) is bytes
    )


@given(ANYTHING | st.lists(st.tuples(*(st.just(value) | ANYTHING for value in EVENT)), max_size=2))
@example([["e1", "x", "t", "u", "no time", 0]])
@example([[*EVENT[:4], True, NOON]])
@example([[*EVENT[:5], 10**16]])
@example([[*EVENT[:6], float("inf")]])
@example([[*EVENT[:6], float("nan")]])
@example([["e" * (MAX_TEXT_BYTES + 1), *EVENT[1:]]])
@example([EVENT, EVENT[:5]])
@example([EVENT, EVENT[:6]])
@example([(*EVENT, "of a newer receiver")])
def test_any_value_is_a_batch_of_events_or_named_malformed(value):
    try:
        events = unpack_batch(msgpack.packb(value))
    except MalformedBatchError:
        return
    assert events
    assert all(map(is_event, events))


@pytest.mark.parametrize("number", range(len(EVENT)))
def test_a_value_of_the_wrong_type_makes_a_batch_malformed_in_whatever_field(number):
    wrong: list[Any] = [*EVENT[:number], [], *EVENT[number + 1 :]]
    with pytest.raises(MalformedBatchError, match="not a batch"):
        unpack_batch(msgpack.packb([EVENT, wrong]))


def test_rows_of_older_and_newer_receivers_are_events():
    assert unpack_batch(msgpack.packb([EVENT[:6], (*EVENT, "newer")])) == [Event(*EVENT[:6]), EVENT]


@given(st.text(min_size=1))
def test_an_identity_hash_fits_an_intset(event_id):
    number = int(identity_hash(event_id.encode("utf-8", "ignore").decode()))
    assert 0 <= number < 2**63


@given(
    st.tuples(st.from_regex(r"[A-Za-z0-9._-]{1,8}", fullmatch=True), st.text(min_size=1, max_size=8)),
    st.tuples(st.from_regex(r"[A-Za-z0-9._-]{1,8}", fullmatch=True), st.text(min_size=1, max_size=8)),
)
def test_two_users_never_share_a_key(one, other):
    assert (one == other) == (record_key(0, member(*one)) == record_key(0, member(*other)))
    assert seen_key(0, member(*one), 5) != record_key(0, member(*other))


def test_a_dedup_bucket_is_a_day_longer_than_events_are_taken():
    week = timedelta(days=7)
    assert dedup_bucket_at(NOON, week) + 1 == dedup_bucket_at(NOON + 8 * 86_400_000_000, week)
