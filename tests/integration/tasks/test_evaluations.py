"""What events did to goals, as PostgreSQL keeps it for analysts: the layers beside progress."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from models.database.flush.items import EventRow, Flush, ProgressRow
from models.database.flush.writer import FlushWriter
from models.events import Event
from models.rules.calendar import microseconds
from models.rules.rows import Evaluation, Row, Unlock
from tests.support.stack import Stack

NOW = microseconds(datetime(2026, 11, 21, 12, tzinfo=UTC))
EVENT = Event(
    "e1", "login", "t1", "u1", NOW - 5_000_000, NOW, None, None, "web", b'{"a":1}', "Europe/Berlin", b'{"plan":"pro"}'
)
ROW = Row("logins", "", "c", "count", 2, 7, NOW, NOW, NOW, [3], NOW - 1, [[1, [2], 0, []]], part=True)
UNLOCK = Unlock(EVENT, "logins", "", "c", 2, NOW)
EVALUATION = Evaluation(EVENT, "logins", "", "c", 2, "in_progress", "completed", Decimal("2.5"), 3.0, "completed", NOW)


@pytest.fixture
def writer(engine):
    return FlushWriter(engine, batch_size=2)


def _flush(**changes):
    rows: dict[str, Any] = {
        "progress": [ProgressRow("t1", "u1", ROW)],
        "events": [EventRow(EVENT, 3, 7, NOW, 4)],
        "unlocks": [UNLOCK],
        "evaluations": [EVALUATION],
    }
    return Flush(**rows | changes)


def _all(engine, table):
    with engine.connect() as connection:
        return connection.exec_driver_sql(f"SELECT * FROM {table}").all()


def test_every_layer_says_what_an_analyst_asks_for(engine, writer):
    assert writer.write(_flush()) == []
    (evaluation,) = _all(engine, "evaluations")
    assert (evaluation.tenant_id, evaluation.user_id, evaluation.event_id) == ("t1", "u1", "e1")
    assert (evaluation.event_type, evaluation.source, evaluation.goal_id) == ("login", "web", "logins")
    assert (microseconds(evaluation.occurred_at), microseconds(evaluation.evaluated_at)) == (NOW - 5_000_000, NOW)
    assert (evaluation.progress_before, evaluation.progress_after) == (Decimal("2.5"), 3)
    assert (evaluation.status_before, evaluation.status, evaluation.decision, evaluation.rule_version) == (
        "in_progress", "completed", "completed", 2,
    )  # fmt: skip
    (unlock,) = _all(engine, "unlocks")
    assert (unlock.event_type, unlock.source, microseconds(unlock.occurred_at)) == ("login", "web", NOW - 5_000_000)
    (event,) = _all(engine, "events")
    assert (event.timezone, event.attributes, event.rules_revision) == ("Europe/Berlin", {"plan": "pro"}, 4)
    (row,) = _all(engine, "user_goal_progress")
    assert (microseconds(row.reached_at), row.slots, row.is_part) == (NOW - 1, [[1, [2], 0, []]], True)


def test_writing_the_same_again_doubles_nothing(engine, writer):
    writer.write(_flush())
    writer.write(_flush())
    assert [len(_all(engine, table)) for table in ("events", "unlocks", "evaluations")] == [1, 1, 1]


def test_evaluations_lie_in_the_partition_of_the_day_they_were_made(engine, writer):
    days = [EVALUATION._replace(goal_id=f"g{n}", evaluated_at=NOW + n * 86_400_000_000) for n in range(3)]
    writer.write(_flush(evaluations=days))
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT tableoid::regclass::text FROM evaluations ORDER BY 1").scalars()
        assert list(found) == ["evaluations_20261121", "evaluations_20261122", "evaluations_20261123"]


def test_an_evaluation_postgresql_refuses_is_kept_aside_and_the_others_land(engine, writer):
    others = [EVALUATION._replace(goal_id=f"g{n}") for n in range(4)]
    bad = EVALUATION._replace(goal_id="bad", rule_version=2**40)
    refused = writer.write(_flush(evaluations=[*others, bad]))
    assert [(dead_letter.kind, dead_letter.user_id, dead_letter.event_ids) for dead_letter in refused] == [
        ("evaluation", "u1", ["e1"])
    ]
    assert {row.goal_id for row in _all(engine, "evaluations")} == {"g0", "g1", "g2", "g3"}
    (dead_letter,) = _all(engine, "dead_letters")
    assert (dead_letter.kind, dead_letter.reason) == ("evaluation", "refused_by_postgresql")
    assert "out of range" in dead_letter.error
    assert len(_all(engine, "events")) == 1


def _decisions(engine):
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT goal_id, decision, status_before, status, progress_before, progress_after, rule_version"
            " FROM evaluations WHERE goal_id = 'logins' ORDER BY progress_after, decision"
        ).all()
    return [tuple(row) for row in found]


@pytest.mark.parametrize(
    ("mode", "decisions"),
    [
        ("off", []),
        ("transitions", ["started", "completed"]),
        ("all", ["started", "advanced", "completed", "advanced"]),
    ],
)
def test_the_evaluation_log_keeps_what_it_is_asked_to(redis, engine, mode, decisions):
    stack = Stack(redis, engine, evaluation_log=mode)
    for _ in range(4):
        stack.post(stack.event("login"))
    stack.flusher.flush()
    assert [decision for _, decision, *_ in _decisions(engine)] == decisions


def test_an_evaluation_says_how_a_goal_stood_before_and_after(stack, engine):
    stack.post(stack.event("login"), stack.event("login"), stack.event("login"))
    stack.flusher.flush()
    assert _decisions(engine) == [
        ("logins", "started", "not_started", "in_progress", 0, 1, 1),
        ("logins", "completed", "in_progress", "completed", 2, 3, 1),
    ]
    assert stack.flusher.flush().transactions == 0
