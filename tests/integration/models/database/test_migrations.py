"""Migrations lead to exactly the tables that the code describes, and back."""

import os
import sys
from subprocess import PIPE, Popen

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from migrations.runner import alembic_config, migrate
from models.database.connection import connect_database
from models.database.partitions import days_around, ensure_partitions, partition_name
from models.database.tables import metadata
from tests.support.environment import database_settings, other_database
from tests.support.stack import NOON, WINDOW

pytestmark = pytest.mark.slow


def _unmanaged(name, kind, _parents):
    return not (kind == "table" and name is not None and name.startswith(("events_", "evaluations_")))


def _differences(engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": _unmanaged, "compare_type": True, "compare_server_default": True}
        )
        return compare_metadata(context, metadata)


def test_migrations_equal_the_tables(engine):
    assert _differences(engine) == []


def test_a_missing_column_would_be_noticed(engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE unlocks DROP COLUMN event_id")
    try:
        assert len(_differences(engine)) == 1
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE unlocks ADD COLUMN event_id text NOT NULL")
            connection.exec_driver_sql("COMMENT ON COLUMN unlocks.event_id IS 'the event that completed the goal'")


def test_migrations_go_down_and_up_again(engine, database_url):
    fresh = _database(engine, database_url)
    try:
        migrate(fresh)
        with fresh.connect() as connection:
            command.downgrade(alembic_config(connection), "base")
        migrate(fresh)
        assert _differences(fresh) == []
    finally:
        fresh.dispose()
        _drop(engine)


def test_what_the_first_release_wrote_is_kept_upwards_and_downwards(engine, database_url):
    fresh = _database(engine, database_url)
    try:
        migrate(fresh, "0001")
        with fresh.begin() as connection:
            for written in FIRST_RELEASE:
                connection.exec_driver_sql(written)
        migrate(fresh)
        assert _one(fresh, "SELECT progress, reached_at, slots, is_part FROM user_goal_progress") == (
            3,
            None,
            [],
            False,
        )
        assert _one(fresh, "SELECT digest, policy, active_from, revision FROM rule_versions") == ("d", None, None, None)
        with fresh.begin() as connection:
            connection.exec_driver_sql(DEAD_LETTER.format(kind="evaluation"))
        with fresh.connect() as connection:
            command.downgrade(alembic_config(connection), "0001")
        assert _one(fresh, "SELECT goal_id, progress FROM user_goal_progress") == ("g", 3)
        assert _one(fresh, "SELECT kind FROM dead_letters") == ("row",)
    finally:
        fresh.dispose()
        _drop(engine)


DEAD_LETTER = """
    INSERT INTO dead_letters (kind, reason, event_ids, raw, error, attempts)
    VALUES ('{kind}', 'r', ARRAY[]::text[], '', 'e', 1)
"""
PROGRESS = """
    INSERT INTO user_goal_progress
    VALUES ('t', 'u', 'g', '', 'c', 3, 'in_progress', NULL, 1, 'count', '[3]', 7, now(), now())
"""
VERSION = "INSERT INTO rule_versions (goal_id, version, digest, definition) VALUES ('g', 1, 'd', '{}')"
FIRST_RELEASE = (PROGRESS, VERSION, DEAD_LETTER.format(kind="row"))


def _one(engine, query):
    with engine.connect() as connection:
        return tuple(connection.exec_driver_sql(query).one())


def _database(engine, url):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS down_and_up WITH (FORCE)")
        connection.exec_driver_sql("CREATE DATABASE down_and_up")
    return connect_database(other_database(url, "down_and_up"))


def _drop(engine):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("DROP DATABASE down_and_up WITH (FORCE)")


def test_partitions_are_made_once_however_often_they_are_asked_for(engine):
    days = days_around(NOON, WINDOW)
    assert len(days) == 10
    ensure_partitions(engine, days)
    ensure_partitions(engine, days)
    with engine.connect() as connection:
        names = connection.exec_driver_sql(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events'::regclass"
        ).scalars()
        assert {partition_name(day) for day in days} <= set(names)


def test_two_migrators_at_once_do_not_collide(engine, database_url):
    fresh = _database(engine, database_url)
    env = os.environ | database_settings(fresh.url)
    command_line = [sys.executable, "-m", "cli", "migrate"]
    try:
        migrators = [Popen(command_line, env=env, stderr=PIPE, text=True) for _ in range(2)]
        ended = [(migrator.communicate(timeout=60)[1], migrator.returncode) for migrator in migrators]
        assert [code for _, code in ended] == [0, 0], ended
        assert _differences(fresh) == []
    finally:
        fresh.dispose()
        _drop(engine)
