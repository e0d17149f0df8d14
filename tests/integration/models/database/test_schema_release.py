"""A release that is older than PostgreSQL's tables does not start, and says so in one line."""

import os
import subprocess
import sys

import pytest

from cli.client.ports import free_port
from migrations.runner import migrate
from models.database.checks.schema_release import refuse_newer_schema, require_tables
from models.database.connection import connect_database
from models.database.tables import NEWEST_MIGRATION
from models.errors import ConfigurationError, NotReadyError
from tests.support.environment import database_settings

pytestmark = pytest.mark.slow


@pytest.fixture
def newer(engine):
    """Tables of a later release."""
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0099'")
    yield engine
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = %s", (NEWEST_MIGRATION,))


def test_the_newest_migration_is_that_of_the_tables(engine):
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == NEWEST_MIGRATION
    refuse_newer_schema(engine)


def test_tables_of_an_earlier_release_or_none_are_no_reason_to_refuse(engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    try:
        refuse_newer_schema(engine)
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = %s", (NEWEST_MIGRATION,))
    refuse_newer_schema(connect_database(f"postgresql://nobody:x@127.0.0.1:{free_port()}/none"))


def test_migrations_refuse_it(newer):
    with pytest.raises(ConfigurationError, match="later release"):
        migrate(newer)


@pytest.mark.parametrize("verb", [["migrate"], ["receiver"], ["worker", "--shards", "all"], ["beat"]])
def test_every_process_refuses_it_with_one_line(newer, redis_url, database_url, tmp_path, verb):
    settings = {**database_settings(database_url), "BROKER_URL": redis_url, "QUESTLINE_DATA_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "cli", *verb],
        env={**os.environ, **settings, "HTTP_PORT": str(free_port()), "GRPC_PORT": str(free_port())},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    [line] = [line for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
    assert line.startswith("questline: PostgreSQL's tables are of a later release (migration 0099")


def test_a_database_without_tables_is_told_apart_from_one_that_is_away(engine):
    require_tables(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE alembic_version RENAME TO elsewhere")
    try:
        with pytest.raises(NotReadyError, match="has no tables of Questline: run `questline migrate`"):
            require_tables(engine)
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO alembic_version")
