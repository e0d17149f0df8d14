"""A PostgreSQL that cannot be used as it is: refused at every start with one line, named by readiness and doctor."""

import os
import socket
import subprocess
import sys
from contextlib import contextmanager

import psycopg2
import pytest
from sqlalchemy import make_url

from cli.client.data_folder import DataFolder
from cli.client.ports import free_port
from config.settings import Settings
from migrations.runner import migrate
from models.database.checks.suitability import database_probe, refuse_unsuitable, require_suitable
from models.database.connection import connect_database, database_errors, with_access
from models.database.server import servers
from models.errors import ConfigurationError, DatabaseUnavailableError, NotReadyError, OnlyReadsError
from tests.support.environment import database_settings
from tests.support.servers import embedded_postgres
from tools.local.servers.selection import Servers

pytestmark = pytest.mark.slow

SAID = "PostgreSQL's database is in SQL_ASCII, and must be in UTF8"


@pytest.fixture(scope="module")
def ascii_settings(database_url, redis_url):
    """The environment of an installation whose database holds bytes of any encoding."""
    made = "CREATE DATABASE in_ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    with _autocommit(database_url) as cursor:
        cursor.execute(made)
    yield {**database_settings(database_url), "DB_NAME": "in_ascii", "STATE_URL": redis_url, "BROKER_URL": redis_url}
    with _autocommit(database_url) as cursor:
        cursor.execute("DROP DATABASE in_ascii WITH (FORCE)")


@contextmanager
def _autocommit(url):
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


@pytest.mark.parametrize("verb", [["migrate"], ["receiver"], ["worker", "--shards", "all"]])
def test_no_process_starts_on_a_database_that_is_not_in_utf8(ascii_settings, tmp_path, verb):
    environment = os.environ | ascii_settings | {"QUESTLINE_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "cli", *verb]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    [line] = [line for line in ended.stderr.splitlines() if line.startswith("questline:")]
    assert SAID in line
    assert "Traceback" not in ended.stderr


def test_up_and_doctor_say_the_same(ascii_settings, tmp_path):
    settings = Settings.model_validate({name.lower(): value for name, value in ascii_settings.items()})
    data = DataFolder(tmp_path)
    data.prepare()
    with pytest.raises(ConfigurationError, match=SAID):
        Servers(settings, data).complete()
    engine = connect_database(settings.database_url)
    with pytest.raises(NotReadyError, match=SAID):  # what doctor and /readyz ask
        database_probe(engine)
    engine.dispose()


def test_nothing_is_written_to_it_by_a_process_that_met_it_later(ascii_settings):
    settings = Settings.model_validate({name.lower(): value for name, value in ascii_settings.items()})
    engine = connect_database(settings.database_url)
    with pytest.raises(DatabaseUnavailableError, match=SAID):
        migrate(engine)
    engine.dispose()


def test_a_release_that_is_too_old_is_refused(database_url, monkeypatch):
    monkeypatch.setattr(servers, "OLDEST", 99)
    settings = Settings.model_validate({name.lower(): value for name, value in database_settings(database_url).items()})
    with pytest.raises(ConfigurationError, match=r"PostgreSQL is release \d+, and must be 99 or newer"):
        require_suitable(settings)


@pytest.fixture(scope="module")
def standby_url(tmp_path_factory):
    """A PostgreSQL that only reads, with an empty database in it."""
    folder = tmp_path_factory.mktemp("standby")
    with embedded_postgres(folder) as url:
        name = make_url(url).database
    (folder / "postgres" / "data" / "standby.signal").touch()
    owner = (folder / "postgres" / "data").stat()
    os.chown(folder / "postgres" / "data" / "standby.signal", owner.st_uid, owner.st_gid)
    with embedded_postgres(folder, makes=False) as url:
        yield make_url(url).set(database=name).render_as_string(hide_password=False)


def test_a_standby_is_named_and_waited_for(standby_url):
    settings = Settings.model_validate({name.lower(): value for name, value in database_settings(standby_url).items()})
    with pytest.raises(OnlyReadsError, match="it is a standby"):  # migrate, up
        require_suitable(settings)
    engine = connect_database(standby_url)
    refuse_unsuitable(engine)  # a receiver or a worker goes on: after a failover it is the primary server
    with pytest.raises(NotReadyError, match="takes no writes: it is a standby"):
        database_probe(engine)
    with database_errors(), with_access(engine, "read").connect() as connection:
        assert connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one() is True
    engine.dispose()


def test_the_first_host_that_takes_writes_is_used(standby_url, direct_database_url):
    """Behind one that is closed, one that never answers, and a standby."""
    standby, primary = make_url(standby_url), make_url(direct_database_url)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ports = (free_port(), silent.getsockname()[1], standby.port, primary.port)
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        options = "target_session_attrs=read-write&connect_timeout=1"
        url = f"postgresql://tester:secret@{hosts}/{primary.database}?{options}"
        engine = connect_database(url)
        with database_errors(), engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT current_database()").scalar_one() == primary.database
            found = connection.exec_driver_sql("SELECT inet_server_port()").scalar_one()
        engine.dispose()
    assert found == primary.port
