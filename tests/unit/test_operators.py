"""The reference operators, case by case; ``tests/integration/test_order_free.py`` holds Lua to them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import MalformedBatchError
from models.events import Event, identity_hash, pack_batch, unpack_batch
from models.hot.keys import generation_at, member, record_key, seen_key
from models.rules.calendar import microseconds, moment, period_key
from models.rules.goals import Goal, Rulebook
from models.rules.operators import progress_of
from models.rules.reference import apply_all

NOON = microseconds(datetime(2026, 11, 21, 12, tzinfo=UTC))


def _goal(operator, target, **more):
    return Goal(goal_id="g", challenge_id="c", name="g", operator=operator, event_source="e", target=target, **more)


def _events(*values, minutes=None, increments=None):
    return [
        Event(
            f"id{n}",
            "e",
            "t",
            "u",
            NOON + 60_000_000 * (minutes[n] if minutes else n),
            NOON,
            value,
            increments[n] if increments else None,
        )
        for n, value in enumerate(values)
    ]


def _state(goal, events):
    row = apply_all(Rulebook((goal,)), events).get(("g", ""))
    return row and (progress_of(row), row.completed_at)


@pytest.mark.parametrize(
    ("operator", "target", "events", "expected"),
    [
        ("count", 2, _events(None), (1, 0)),
        ("count", 2, _events(None, 5, -3), (3, NOON + 60_000_000)),
        ("sum", 10, _events(4, 6.5), (Decimal("10.5"), NOON + 60_000_000)),
        ("sum", 10, _events(None, None), (2, 0)),
        ("sum", 10, _events(4, -6, 3), (7, 0)),
        ("sum", 10, _events(100, 100, increments=[3, 4]), (7, 0)),
        ("sum", 10, _events(100, increments=[0]), (0, 0)),
        ("sum", 10, _events(-5), None),
        ("latest", 10, _events(4, 12, 7), (7, NOON + 60_000_000)),
        ("latest", 10, _events(12, 7, minutes=[5, 0]), (12, NOON + 300_000_000)),
        ("latest", 10, _events(20, 15, minutes=[5, 0]), (20, NOON)),
        ("latest", 10, _events(None), None),
        ("latest", -5, _events(-7, -5.5), (-5.5, 0)),
    ],
)
def test_an_operator_measures(operator, target, events, expected):
    assert _state(_goal(operator, target), events) == expected


def test_a_count_that_stops_at_its_target_stays_there():
    goal = _goal("count", 2, stops_at_target=True)
    assert _state(goal, _events(None)) == (1, 0)
    assert _state(goal, _events(None, None, None)) == (2, NOON + 60_000_000)


def test_a_repeated_event_counts_once():
    assert _state(_goal("count", 5), _events(None) * 3) == (1, 0)


def test_events_at_the_same_instant_are_told_apart_by_their_ids_in_any_order():
    events = _events(1, 2, 3, minutes=[0, 0, 0])
    assert _state(_goal("latest", 9), events) == _state(_goal("latest", 9), events[::-1])


def test_a_daily_goal_has_a_row_for_each_day():
    events = _events(None, None, None, minutes=[0, 1, -24 * 60])
    rows = apply_all(Rulebook((_goal("count", 1, per="day"),)), events)
    assert {period: progress_of(row) for (_, period), row in rows.items()} == {"2026-11-21": 2, "2026-11-20": 1}


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_microseconds_are_exact_both_ways_and_a_day_is_its_utc_date(at):
    assert moment(microseconds(at)) == at
    assert period_key("day", microseconds(at)) == at.date().isoformat()


def test_a_goals_digest_changes_with_its_meaning_only():
    goal = _goal("count", 5)
    assert goal.digest == Goal(**{**_fields(goal), "name": "other", "description": "d", "reward": {"a": 1}}).digest
    assert goal.digest == Goal(**{**_fields(goal), "target": 5.0}).digest
    for change in (
        {"stops_at_target": True},
        {"target": 6},
        {"event_source": "f"},
        {"operator": "sum"},
        {"per": "day"},
    ):
        assert goal.digest != Goal(**{**_fields(goal), **change}).digest


def _fields(goal):
    return {name: getattr(goal, name) for name in Goal.__dataclass_fields__}


@given(st.lists(st.tuples(st.text(min_size=1), st.floats(allow_nan=False) | st.none()), max_size=5))
def test_a_batch_survives_packing(data):
    data = [(name.encode("utf-8", "ignore").decode(), value) for name, value in data]
    events = [Event(name, "e", "t", "u", NOON, NOON, value, None, None, b"{}") for name, value in data]
    assert unpack_batch(pack_batch(events)) == events


@pytest.mark.parametrize("junk", [b"", b"\xc1", b"\x01", b"\x91\x01", b"\x91\x91\x01", b"{}"])
def test_bytes_that_are_no_batch_are_named_so(junk):
    with pytest.raises(MalformedBatchError):
        unpack_batch(junk)


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


def test_a_generation_is_as_long_as_the_window():
    week = timedelta(days=7)
    assert generation_at(NOON, week) + 1 == generation_at(NOON + 7 * 86_400_000_000, week)
