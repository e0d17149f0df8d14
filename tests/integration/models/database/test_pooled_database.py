"""PostgreSQL behind pgbouncer: each transaction may get another session, and nothing depends on which."""

import os
import shutil
import sys
import tempfile
from datetime import timedelta
from itertools import count
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Thread

import pytest
import trustme
from sqlalchemy import Engine, make_url

from config.settings import Settings
from migrations.runner import migrate
from models.database.api_keys import Rights, create_key, note_uses, read_key_store
from models.database.checks.suitability import database_probe, require_suitable
from models.database.connection import connect_database, database_errors
from models.database.event_log import open_log
from models.errors import ConfigurationError, DatabaseUnavailableError, NotReadyError
from tests.support.environment import database_settings
from tests.support.poolers import needs_pgbouncer, pooled
from tests.support.stack import Stack

pytestmark = needs_pgbouncer
_names = count()


@pytest.fixture(scope="module", params=["transaction", "session"])
def pooled_url(request, direct_database_url):
    """The test database through a pooler with no more server connections than half of what is asked for."""
    with pooled(direct_database_url, mode=request.param, default_pool_size="10") as url:
        yield url


@pytest.fixture
def through(engine, pooled_url):
    """An engine through the pooler, on empty tables."""
    made = connect_database(pooled_url, pool_size=5)
    yield made
    made.dispose()


def test_events_reach_postgresql_and_come_back(redis, through):
    stack = Stack(redis, through)
    stack.post(stack.event("login", event_id="e1"))
    stack.flusher.flush()
    redis.flushall()
    stack.post(stack.event("login", event_id="e1"), stack.event("login", event_id="e2"))
    stack.flusher.flush()
    assert stack.rows()[("logins", "")] == (2, False)
    with open_log(through) as event_log:
        assert len(list(event_log.events())) == 2


def test_what_a_transaction_sets_ends_with_it(through):
    with through.connect() as connection:
        held = [connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in ("timezone", "statement_timeout")]
    assert held == ["UTC", "30s"]
    with through.connect().execution_options(isolation_level="AUTOCOMMIT") as plain:
        assert plain.exec_driver_sql("SHOW statement_timeout").scalar_one() != "30s"


def test_many_at_once_on_few_connections_keep_their_own_timeouts(pooled_url):
    short = connect_database(pooled_url, statement_timeout=timedelta(milliseconds=200))
    long = connect_database(pooled_url)
    seen = []

    def ask(engine: Engine, seconds: float):
        try:
            with database_errors(), engine.connect() as connection:
                connection.exec_driver_sql(f"SELECT pg_sleep({seconds})")
            seen.append((engine is short, True))
        except DatabaseUnavailableError:
            seen.append((engine is short, False))

    threads = [Thread(target=ask, args=(engine, 0.4)) for engine in (short, long) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(seen) == [(False, True)] * 4 + [(True, False)] * 4


def test_keys_and_rules_are_kept(through):
    made, _ = create_key(through, Rights("t1", "read"))
    note_uses(through, {made.key_id: 1})
    assert read_key_store(through).check(made.text, 0).tenant_id == "t1"
    with through.begin() as connection:
        connection.exec_driver_sql("TRUNCATE api_keys")


@pytest.mark.parametrize("pooled_url", ["transaction"], indirect=True)
def test_two_migrators_at_once_bring_a_fresh_database_to_this_version(engine, pooled_url):
    name = f"pooled_{next(_names)}"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        env = os.environ | database_settings(pooled_url) | {"DB_NAME": name}
        migrators = [Popen([sys.executable, "-m", "cli", "migrate"], env=env, stderr=PIPE, text=True) for _ in range(2)]
        ended = [(migrator.communicate(timeout=60)[1], migrator.returncode) for migrator in migrators]
        assert [code for _, code in ended] == [0, 0], ended
    finally:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


def test_readiness_and_start_hold_it_for_good(through, pooled_url):
    database_probe(through)
    require_suitable(Settings(given_database_url=pooled_url))


def test_statement_mode_is_refused_with_one_line(direct_database_url):
    with pooled(direct_database_url, mode="statement") as url:
        with pytest.raises(ConfigurationError, match="statement mode: set pool_mode to transaction"):
            require_suitable(Settings(given_database_url=url))
        engine = connect_database(url)
        with pytest.raises(NotReadyError, match="statement mode"):
            database_probe(engine)
        with pytest.raises(DatabaseUnavailableError):
            migrate(engine)
        engine.dispose()


@pytest.fixture(scope="module")
def tls(direct_database_url):
    """A pooler that takes TLS only: its URL without any option, and the file of its authority."""
    with tempfile.TemporaryDirectory(prefix="questline-tls-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(folder / "authority.pem")
        issued.cert_chain_pems[0].write_to_path(folder / "chain.pem")
        issued.private_key_pem.write_to_path(folder / "key.pem")
        if os.geteuid() == 0:
            shutil.chown(folder / "key.pem", "nobody")
        files = {"client_tls_cert_file": folder / "chain.pem", "client_tls_key_file": folder / "key.pem"}
        told = {name: str(value) for name, value in files.items()}
        with pooled(direct_database_url, client_tls_sslmode="require", **told) as url:
            yield make_url(url).set(query={}), folder / "authority.pem"


def settings_of(url, **more):
    return Settings.model_validate({name.lower(): value for name, value in database_settings(url).items()} | more)


def test_certificates_are_checked_by_settings(tls, monkeypatch):
    url, authority = tls
    require_suitable(settings_of(url, db_sslmode="require"))
    require_suitable(settings_of(url, db_sslrootcert=str(authority)))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    require_suitable(settings_of(url, db_sslrootcert="system"))


def test_a_certificate_of_somebody_else_is_refused_and_no_password_shown(tls, tmp_path):
    url, authority = tls
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with pytest.raises(DatabaseUnavailableError, match="certificate verify failed") as refused:
        require_suitable(settings_of(url, db_sslrootcert=str(tmp_path / "other.pem")))
    assert str(url.password) not in str(refused.value)
    named = settings_of(url.set(host="localhost"), db_sslrootcert=str(authority))
    with pytest.raises(DatabaseUnavailableError, match="does not match host name"):
        require_suitable(named)
    with pytest.raises(DatabaseUnavailableError, match="SSL required"):
        require_suitable(settings_of(url, db_sslmode="disable"))
