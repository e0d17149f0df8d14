"""Whatever the server, the database or the role has as its defaults, the same is written and read."""

from datetime import timedelta
from threading import Thread

import psycopg2
import pytest

from models.attributes import Attributes
from models.database.attributes import AttributeStore
from models.database.connection import connect_database, database_errors, with_access
from models.database.event_log import open_log
from models.database.progress import ProgressReader
from models.database.rules.publications import load
from models.database.rules.publisher import Document
from models.errors import DatabaseUnavailableError
from models.rules.challenge_file.parser import parse_challenges
from tests.support.publication import publish
from tests.support.stack import WINDOW, Stack
from tools.audit.sandbox import Sandbox

HOSTILE = {
    "TimeZone": "America/St_Johns",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "client_encoding": "LATIN1",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "search_path": "elsewhere",
    "statement_timeout": "500ms",
    "lock_timeout": "500ms",
    "idle_in_transaction_session_timeout": "500ms",
    "row_security": "off",
    "xmlbinary": "hex",
    "enable_partition_pruning": "off",
}


@pytest.fixture
def hostile(engine, direct_database_url):
    """An engine whose role has other defaults than anybody would want."""
    with engine.begin() as connection:
        for name, value in HOSTILE.items():
            connection.exec_driver_sql(f"ALTER ROLE CURRENT_USER SET {name} = '{value}'")
    made = connect_database(direct_database_url)
    yield made
    made.dispose()
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER ROLE CURRENT_USER RESET ALL")


def test_the_defaults_are_in_force_for_whoever_does_not_mind_them(hostile, direct_database_url):
    connection = psycopg2.connect(direct_database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0; SHOW timezone")
        assert cursor.fetchone() == (HOSTILE["TimeZone"],)
    connection.close()


def written(stack):
    """What PostgreSQL has of a day with texts, numbers and times that a default could spoil."""
    payload = rb'{"say":"back\\slash \"quoted\" \u0141 ' + "Łucja'".encode() + rb'","null":null}'
    stack.post(
        stack.event("login", user="Łucja's \\ {null}", event_id="e1", payload=payload),
        stack.event("workout", user="null", event_id="e2", value=0.1 + 0.2),
        stack.event("workout", user="null", event_id="e3", value=1e-7, increment=12345678.912345678),
        stack.event("login", user="null", event_id="e4", timezone="Asia/Kathmandu", attributes=b'{"plan":"p\\\\ro"}'),
    )
    stack.flusher.flush()
    with open_log(stack.engine) as event_log:
        return [(logged.event._replace(accepted_at=0), logged.revision) for logged in event_log.events()]


def test_events_and_progress_are_written_and_read_as_ever(redis, engine, hostile):
    redis.flushall()
    plain = written(Stack(redis, engine))
    rows = Stack(redis, engine).rows("null")
    with engine.begin() as connection:
        connection.exec_driver_sql("TRUNCATE events, user_goal_progress, unlocks, evaluations")
    redis.flushall()
    stack = Stack(redis, hostile)
    assert written(stack) == plain
    assert len(plain) == 4
    assert stack.rows("null") == rows
    users = [("t1", "null"), ("t1", "Łucja's \\ {null}")]
    told, usual = (
        ProgressReader(each, window=WINDOW).snapshots(users, now_us=stack.clock()) for each in (hostile, engine)
    )
    assert told == usual
    assert [len(snapshot.hashes) for snapshot in told] == [3, 1]


def test_a_user_is_loaded_and_counted_on_as_ever(redis, hostile):
    stack = Stack(redis, hostile)
    stack.post(stack.event("login", event_id="e1"))
    stack.flusher.flush()
    redis.flushall()
    stack.post(stack.event("login", event_id="e1"), stack.event("login", event_id="e2"))
    stack.flusher.flush()
    assert stack.rows()[("logins", "")] == (2, False)


def test_rules_are_published_and_attributes_kept_as_ever(hostile):
    text = (
        rb'{"challenges":[{"id":"c","name":"\u0141","goals":[{"id":"g","name":"back\\slash","rule":"count(x) >= 1"}]}]}'
    )
    rulebook = parse_challenges(text, "f.json", lateness=WINDOW)
    assert publish(hostile, Document(text, rulebook, "f.json"), now_us=0) is not None
    known = load(hostile, lambda content: parse_challenges(content, "stored", lateness=WINDOW), since_us=0)
    assert [one.name for one in known.newest.rulebook.goals] == ["back\\slash"]
    store = AttributeStore(hostile)
    told: Attributes = {"plan": "p\\'Ł", "seats": 0.1}
    with store.replacing(("t", "u"), told):
        pass
    assert store.read([("t", "u")]) == {("t", "u"): told}


def test_a_replay_writes_into_a_schema_of_its_own_as_ever(hostile):
    sandbox = Sandbox(hostile, "replayed_by_test")
    sandbox.make(drop=True)
    assert sandbox.write([]) == (0, 0)
    with hostile.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA replayed_by_test CASCADE")


def test_two_writers_of_one_row_do_not_fail_each_other(redis, hostile):
    stack = Stack(redis, hostile)
    stack.post(*(stack.event("login", user=f"u{number}") for number in range(50)))
    threads = [Thread(target=stack.flusher.flush) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert stack.count("events") == 50
    assert stack.count("dead_letters") == 0


def test_a_snapshot_sees_nothing_that_is_committed_meanwhile(engine, stack):
    with open_log(engine) as event_log:
        assert event_log.count() == 0
        stack.post(stack.event("login"))
        stack.flusher.flush()
        assert event_log.count() == 0
    with open_log(engine) as event_log:
        assert event_log.count() == 1


def test_a_transaction_that_reads_writes_nothing(engine):
    with (
        pytest.raises(DatabaseUnavailableError),
        database_errors(),
        with_access(engine, "read").begin() as connection,
    ):
        connection.exec_driver_sql("DELETE FROM events")


def test_a_transaction_that_lost_to_another_may_be_tried_again(stack, engine):
    stack.post(stack.event("login"))
    stack.flusher.flush()
    touch = "UPDATE user_goal_progress SET updated_at = now()"
    strict = engine.execution_options(isolation_level="REPEATABLE READ")
    with strict.connect() as first:
        first.exec_driver_sql("SELECT count(*) FROM user_goal_progress")
        with engine.begin() as second:
            second.exec_driver_sql(touch)
        with pytest.raises(DatabaseUnavailableError, match="could not serialize"), database_errors():
            first.exec_driver_sql(touch)


def test_the_timeout_of_the_engine_holds(hostile, database_url):
    short = connect_database(database_url, statement_timeout=timedelta(milliseconds=100))
    with pytest.raises(DatabaseUnavailableError), database_errors(), short.connect() as connection:
        connection.exec_driver_sql("SELECT pg_sleep(5)")
    short.dispose()
    with hostile.connect() as connection:
        connection.exec_driver_sql("SELECT pg_sleep(0.6)")


def test_tables_stay_where_a_role_had_them_through_its_search_path(engine, direct_database_url):
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA own")
        connection.exec_driver_sql("CREATE TABLE own.user_goal_progress (mark int)")
        connection.exec_driver_sql("ALTER ROLE CURRENT_USER SET search_path = own")
    made = connect_database(direct_database_url)
    try:
        with made.connect() as connection:
            assert connection.exec_driver_sql("SELECT mark FROM user_goal_progress").all() == []
    finally:
        made.dispose()
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER ROLE CURRENT_USER RESET ALL")
            connection.exec_driver_sql("DROP SCHEMA own CASCADE")
