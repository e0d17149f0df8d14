"""``questline recover``: what it says, what it does, and that it does nothing where nothing is wrong."""

import json

import pytest

from config.settings import Settings
from config.shared_settings import shared_values
from models.database.fleet.installation import InstallationTable
from models.database.rules.publisher import Document
from models.fleet.installation import new_record
from models.rules.calendar import microseconds
from models.state.fleet.installation import InstallationCopy
from tests.support.backups import DatabaseBackup
from tests.support.mixed_rules import RULES, document
from tests.support.publication import publish
from tests.support.stack import NOON, Stack

pytestmark = pytest.mark.slow


@pytest.fixture
def recover(quietly):
    return quietly("recover")


@pytest.fixture
def behind(redis, engine):
    """A PostgreSQL that lacks two of three events."""
    stack = Stack(redis, engine)
    stack.post(stack.event("login", event_id="1"))
    stack.flusher.flush()
    backup = DatabaseBackup(engine)
    stack.post(stack.event("login", event_id="2"), stack.event("login", event_id="3"))
    stack.flusher.flush()
    backup.restore()
    yield stack
    backup.drop()


def test_it_does_nothing_where_both_stores_are_in_step(recover, stack):
    stack.post(stack.event("login"))
    stack.flusher.flush()
    before = stack.histories.read(range(4))
    told = recover()
    assert (told.exit_code, told.stdout) == (0, "Redis and PostgreSQL are in step: there is nothing to recover\n")
    assert stack.histories.read(range(4)) == before


def test_it_says_what_it_would_do_and_changes_nothing(recover, behind):
    told = recover("--dry-run", "--json")
    (found,) = json.loads(told.stdout)["found"]
    assert told.exit_code == 1
    assert (found["standing"], found["events_lost_at_most"]) == ("postgresql_behind", 2)
    assert (found["postgresql_flush"], found["redis_flush"]) == (1, 2)
    assert behind.flusher.flush().stopped


def test_it_lets_the_flush_go_on_from_what_postgresql_has(recover, behind):
    assert behind.flusher.flush().stopped
    told = recover("--json")
    assert (told.exit_code, json.loads(told.stdout)["ok"]) == (0, True)
    behind.post(*(behind.event("login", event_id=str(number)) for number in (1, 2, 3)))
    behind.flusher.flush()
    assert behind.rows()["logins", ""] == (3, True)
    assert behind.count("events") == 3


def test_it_looks_at_every_shard_where_postgresql_is_of_before_their_number_was_changed(recover, behind, engine, redis):
    table, copy = InstallationTable(engine), InstallationCopy(redis)
    old = table.create(new_record(shared_values(Settings(shards=1)), 1))
    copy.write(old.changed({"SHARDS": "4"}))
    assert behind.flusher.flush().stopped
    assert recover("--dry-run").exit_code == 1
    assert table.read() == old
    told = recover("--json")
    assert (told.exit_code, json.loads(told.stdout)["ok"]) == (0, True)
    assert not behind.flusher.flush().stopped
    assert table.read() == copy.read()


def test_it_opens_shards_that_were_closed_for_an_older_postgresql_and_are_in_step_again(recover, stack):
    stack.post(stack.event("login"))
    stack.flusher.flush()
    stack.histories.mark_behind(4)
    assert recover().exit_code == 0
    assert not any(history.is_behind for history in stack.histories.read(range(4)).values())


def test_it_computes_rows_anew_that_are_ahead_of_their_events(recover, redis, engine):
    """By its own connections, of which the look at the events needs several at once."""
    publish(engine, Document(document(), RULES, "mixed.json"), now_us=microseconds(NOON))
    stack = Stack(redis, engine, rulebook=RULES)
    stack.post(*(stack.event("lesson", payload=b'{"course":"c1"}') for _ in range(3)))
    stack.flusher.flush()
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE user_goal_progress SET stamp = stamp + 1000000, progress = 9, state = '[9]'"
            " WHERE goal_id = 'lessons'"
        )
    redis.flushall()
    told = json.loads(recover("--json").stdout)
    assert (told["users_corrected"], told["users_left"], told["ok"]) == (1, 0, True)
    assert stack.rows()["lessons", ""] == (3, False)
