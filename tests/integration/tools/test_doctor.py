"""``questline doctor``: each finding, on real servers that are set wrong for a moment."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from config.settings import Settings
from config.shards import MAINTENANCE_QUEUE
from models.database.api_keys import Rights, create_key, rotate_key
from models.database.connection import connect_database
from models.database.dead_letters.writer import DeadLetter
from models.database.partitions import prepare_database
from models.failpoints import now_us
from models.state.fleet.heartbeats import Heartbeats
from tasks.definitions import FLUSH, SWEEP
from tests.support.doctor import ask, only
from tests.support.publication import publish
from tests.support.stack import SHARDS
from tools.doctor.examination import examine
from tools.doctor.registry import CHECKS, Installation
from worker.celery_app import make_app
from worker.wiring import read_challenges


@pytest.fixture
def installation(redis, redis_url, engine, database_url):
    """The servers of the test as an installation."""
    settings = Settings(state_url=redis_url, broker_url=redis_url, shards=SHARDS)
    return Installation(settings, redis, redis, engine, make_app(settings), now_us)


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("check", "settings", "level", "word"),
    [
        ("journal-settings", {"journal_max_bytes": 65536}, "error", "JOURNAL_MAX_BYTES"),
        ("journal-settings", {"journal_max_bytes": 1024 * 1024}, "warning", "JOURNAL_MAX_BYTES"),
        ("journal-settings", {"journal_max_age": 12 * SECOND}, "error", "JOURNAL_MAX_AGE"),
        ("journal-settings", {"journal_retry_after": SECOND}, "warning", "JOURNAL_RETRY_AFTER"),
        ("journal-settings", {"journal_sweep_interval": 60 * SECOND}, "warning", "QuestlineNothingTicks"),
        ("flush-settings", {"dirty_max_users": 10_000}, "error", "DIRTY_MAX_USERS"),
        ("flush-settings", {"dirty_max_users": 2, "buffer_max_size": 1}, "error", "below SHARDS"),
        ("flush-settings", {"buffer_flush_interval": 60 * SECOND}, "warning", "BUFFER_FLUSH_INTERVAL"),
        ("flush-settings", {"record_ttl": SECOND}, "warning", "RECORD_TTL"),
        ("receiver-settings", {"commit_linger": SECOND}, "warning", "COMMIT_LINGER"),
        ("receiver-settings", {"request_timeout": 300 * SECOND}, "warning", "REQUEST_TIMEOUT"),
        ("receiver-settings", {"max_lateness": 60 * SECOND}, "warning", "MAX_LATENESS"),
        ("receiver-settings", {"log_level": "debug"}, "warning", "LOG_LEVEL"),
        ("receiver-settings", {"apply_task_events": True}, "warning", "APPLY_TASK_EVENTS"),
        ("test-settings", {"failpoints_dir": Path("/tmp")}, "error", "FAILPOINTS_DIR"),
        ("exposure", {"http_host": "0.0.0.0", "rate_limit": 5}, "warning", "without TLS"),
        ("exposure", {"http_host": "::", "tls_cert": Path("c")}, "warning", "RATE_LIMIT"),
        ("tls", {"tls_cert": Path("c")}, "error", "only one is set"),
        ("tls", {"tls_cert": Path("no"), "tls_key": Path("no")}, "error", "cannot be used: No such file"),
        ("redis-password", {"state_url": "redis://10.0.0.1:1/0"}, "error", "STATE_URL"),
        ("redis-password", {"broker_url": "redis://127.0.0.1:1/0"}, "warning", "BROKER_URL"),
    ],
)
def test_a_setting_that_is_dangerous_or_contradicts_another_is_named(installation, check, settings, level, word):
    assert ask(installation, check) == []
    only(ask(installation, check, **settings), level, word)


def test_flower_that_changes_things_in_sight_of_others_is_named(installation):
    seen = ask(installation, "exposure", http_host="0.0.0.0", tls_cert=Path("c"), rate_limit=5, flower_control=True)
    only(seen, "warning", "FLOWER_CONTROL")


@contextmanager
def configured(redis, name, value):
    before = redis.config_get(name)[name]
    redis.config_set(name, value)
    try:
        yield
    finally:
        redis.config_set(name, before)


@pytest.mark.parametrize(
    ("check", "setting", "says"),
    [
        ("redis", ("min-replicas-to-write", 9), "takes no writes: it has too few replicas"),
        ("redis-durability", ("appendonly", "no"), "no append-only file"),
        ("redis-durability", ("appendfsync", "no"), "its disk"),
        ("redis-eviction", ("maxmemory-policy", "allkeys-lru"), "evicts keys (allkeys-lru)"),
    ],
)
def test_a_redis_that_would_lose_events_is_named(installation, redis, check, setting, says):
    with configured(redis, "appendonly", "yes"):
        assert ask(installation, check) == []
        with configured(redis, *setting):
            only(ask(installation, check), "error", says)


@pytest.mark.parametrize(
    ("check", "setting", "of_broker"),
    [
        ("redis", ("min-replicas-to-write", 9), ("error", "takes no writes: it has too few replicas")),
        ("redis-durability", ("appendonly", "no"), ("warning", "ql:poison")),
        ("redis-durability", ("appendfsync", "no"), ("warning", "its disk")),
        ("redis-eviction", ("maxmemory-policy", "allkeys-lru"), ("warning", "evicts keys (allkeys-lru)")),
    ],
)
def test_a_broker_of_its_own_is_judged_by_what_it_holds(installation, redis, check, setting, of_broker):
    with configured(redis, "appendonly", "yes"), configured(redis, *setting):
        # One server in both parts, by two names.
        state, broker = ask(installation, check, broker_url="redis://:x@127.0.0.1:1/0")
    level, says = of_broker
    assert (state[0], broker[0]) == ("error", level)
    assert state[1].startswith("the state Redis ")
    assert broker[1].startswith("the broker ")
    assert says in broker[1]
    assert "events get lost" not in broker[1]
    assert "whatever is accepted is lost" not in broker[1]


def test_room_for_the_journal_is_asked_of_the_state_redis_only(installation, redis):
    with configured(redis, "maxmemory", "400mb"):
        found = ask(installation, "redis-memory", broker_url="redis://:x@127.0.0.1:1/0")
    only(found, "warning", "the state Redis ", "below twice JOURNAL_MAX_BYTES")
    with configured(redis, "maxmemory", int(redis.info("memory")["used_memory"] / 0.8)):
        changed = installation.settings.model_copy(update={"broker_url": "redis://:x@127.0.0.1:1/0"})
        state, broker = examine(replace(installation, settings=changed), [CHECKS["redis-memory"]])
    assert "questline_journal_bytes" in state.advice
    assert (broker.level, "questline_queue_length" in broker.advice) == ("warning", True)


def test_a_redis_that_is_nearly_full_is_named(installation, redis):
    with configured(redis, "maxmemory", "400mb"):
        only(ask(installation, "redis-memory"), "warning", "below twice JOURNAL_MAX_BYTES")
    used = redis.info("memory")["used_memory"]
    with configured(redis, "maxmemory", int(used / 0.8)):
        only(ask(installation, "redis-memory"), "warning", "% of its maxmemory")
    with configured(redis, "maxmemory", int(used / 0.95)):
        only(ask(installation, "redis-memory"), "error", "% of its maxmemory")


def test_versions_are_said_and_old_ones_are_errors(installation, monkeypatch):
    said = examine(installation, [CHECKS["redis-version"], CHECKS["postgresql-version"]])
    assert [finding.level for finding in said] == ["ok", "ok"]
    assert "PostgreSQL 1" in said[1].says
    monkeypatch.setattr("tools.doctor.redis_servers.OLDEST", (99, 0))
    monkeypatch.setattr("tools.doctor.postgres.OLDEST", 990_000)
    only(ask(installation, "redis-version"), "error", "is ")
    only(ask(installation, "postgresql-version"), "error", "PostgreSQL 1")


def test_a_postgresql_on_another_machine_without_checked_certificates_is_named(installation):
    assert ask(installation, "postgresql-tls", db_host="127.0.0.1") == []
    only(ask(installation, "postgresql-tls", db_host="db.example"), "warning", "PostgreSQL")


def test_a_postgresql_that_may_forget_what_it_committed_is_named(installation, direct_database_url):
    engine = connect_database(direct_database_url)
    installation = replace(installation, engine=engine)
    assert ask(installation, "postgresql-durability") == []
    alter = f"ALTER DATABASE {engine.url.database}"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"{alter} SET synchronous_commit = off")
    engine.dispose()  # only new connections have it
    try:
        only(ask(installation, "postgresql-durability"), "error", "synchronous_commit is off")
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"{alter} RESET synchronous_commit")
        engine.dispose()


def test_a_database_at_another_migration_is_named(installation, engine):
    assert ask(installation, "migrations") == []
    with engine.begin() as connection:
        head = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    try:
        only(ask(installation, "migrations"), "error", "at migration 0001", head)
        with engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM alembic_version")
        only(ask(installation, "migrations"), "error", "no tables of ours")
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM alembic_version")
            connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{head}')")


def test_days_without_a_partition_are_counted(installation, engine):
    prepare_database(engine, installation.settings)
    assert ask(installation, "partitions") == []
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE events_{datetime.now(UTC):%Y%m%d}")
    only(ask(installation, "partitions"), "warning", "1 partitions are missing", f"{datetime.now(UTC):%Y%m%d}")
    prepare_database(engine, installation.settings)


def test_rules_that_are_missing_or_of_a_newer_version_are_named(installation, engine):
    only(ask(installation, "rules"), "error", "no rules are published")
    publish(engine, read_challenges(installation.settings), now_us=now_us())
    assert ask(installation, "rules") == []
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO rule_publications SELECT 2, active_from, published_at, digest, source, '{}', versions"
            " FROM rule_publications"
        )
    only(ask(installation, "rules"), "error", "publication 2 cannot be read")


def test_dead_letters_are_counted_by_reason(installation, stack):
    dead_letter = DeadLetter("batch", "out_of_attempts", "?", b"1", [])
    stack.writer.store_dead_letters(
        [dead_letter, dead_letter._replace(raw=b"2"), dead_letter._replace(reason="malformed_batch")]
    )
    assert ask(installation, "dead-letters") == [
        ("warning", "2 dead letters: out_of_attempts"),
        ("warning", "1 dead letters: malformed_batch"),
    ]


KEY = "INSERT INTO api_keys (key_id, tenant_id, scope, secret_hash, created_at, expires_at, revoked_at, last_used_at) "


def test_keys_that_are_missing_dead_about_to_expire_or_unused_are_named(installation, engine):
    assert ask(installation, "api-keys") == []
    only(ask(installation, "api-keys", http_host="0.0.0.0"), "error", "no API keys")
    day = "interval '1 day'"
    with engine.begin() as connection:
        connection.exec_driver_sql(KEY + "VALUES ('gone', 't', 'read', '', now(), NULL, now(), NULL)")
    only(ask(installation, "api-keys"), "error", "every API key is revoked")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"{KEY}VALUES ('good', 't', 'read', '', now() - 200 * {day}, NULL, NULL, now()),"
            f" ('soon', 't', 'read', '', now(), now() + 5 * {day}, NULL, now()),"
            f" ('old', 't', 'read', '', now() - 300 * {day}, NULL, NULL, now() - 100 * {day}),"
            f" ('never', 't', 'read', '', now() - 100 * {day}, NULL, NULL, NULL)"
        )
    said = " ".join(says for _, says in ask(installation, "api-keys"))
    assert "key soon expires" in said
    assert "nobody has used key old since" in said
    assert "nobody has used key never since" in said
    assert "good" not in said


def test_a_rotated_key_that_ends_after_its_grace_needs_nobody(installation, engine):
    old, _ = create_key(engine, Rights("t", "read"), timedelta(days=5))
    only(ask(installation, "api-keys"), "warning", f"key {old.key_id} expires")
    new, _ = rotate_key(engine, old.key_id, timedelta(days=1), timedelta(days=90))
    assert ask(installation, "api-keys") == []
    newest, _ = rotate_key(engine, new.key_id, timedelta(days=1), timedelta(days=3))
    only(ask(installation, "api-keys"), "warning", f"key {newest.key_id} expires")


def test_a_beat_that_is_silent_and_a_maintenance_that_is_away_are_told_apart(installation, redis):
    for level, says in ask(installation, "beat"):
        assert (level, says.split(" ", 1)[1]) == ("error", "has never run")
    heartbeats = Heartbeats(redis)
    for task in (FLUSH, SWEEP):
        heartbeats.note(task, now_us())
    assert ask(installation, "beat") == []

    later = replace(installation, now_us=lambda: now_us() + 600_000_000)
    silent = examine(later, [CHECKS["beat"]])
    redis.lpush(MAINTENANCE_QUEUE, "a tick")
    stuck = examine(later, [CHECKS["beat"]])
    redis.delete(MAINTENANCE_QUEUE)

    assert {finding.level for finding in silent + stuck} == {"error"}
    assert {finding.advice for finding in silent} == {"No ticks are waiting: start `questline beat`."}
    assert all("--maintenance" in finding.advice for finding in stuck)


def test_shards_that_nobody_takes_are_named(installation):
    assert ask(installation, "workers") == [
        ("error", f"no worker takes {SHARDS} of {SHARDS} shards, the first is 0"),
        ("error", "no worker takes the maintenance"),
    ]


def test_batches_and_changes_that_wait_are_said_with_their_age(installation, stack):
    seen = replace(installation, now_us=stack.clock)
    (batch,) = stack.accept(stack.event("login"))
    assert ask(seen, "journal") == []
    stack.clock.advance(seconds=90)
    only(ask(seen, "journal"), "warning", "1 batches wait, the oldest for 90 s for a worker")
    stack.clock.advance(hours=1)
    only(ask(seen, "journal"), "error", "the oldest for 3,690 s for a worker")

    # Taken, it closes no shard, however long it waits to be tried again.
    stack.take(batch.shard)
    only(ask(seen, "journal"), "warning", "1 batches wait, the oldest, which a worker took, for 3,690 s")

    stack.apply(batch)
    assert ask(seen, "flush-lag") == []
    stack.clock.advance(seconds=40)
    only(ask(seen, "flush-lag"), "warning", "1 users wait, the first for 40 s")
    stack.clock.advance(hours=1)
    only(ask(seen, "flush-lag"), "error", "wait")
    stack.flusher.flush()
    assert ask(seen, "flush-lag") == []


def test_a_clock_that_is_off_is_named_with_its_error(installation):
    assert ask(installation, "clocks") == []
    for offset, level in ((10, "warning"), (-300, "error")):
        seen = replace(installation, now_us=lambda offset=offset: now_us() + offset * 1_000_000)
        found = ask(seen, "clocks")
        assert [found_level for found_level, _ in found] == [level, level]
        assert all(("behind" if offset > 0 else "ahead") in says for _, says in found)


def test_a_disk_that_is_nearly_full_is_named(installation, monkeypatch, tmp_path):
    for free, level in ((500 * 1024**2, "warning"), (1024, "error")):
        monkeypatch.setattr("shutil.disk_usage", lambda _path, free=free: type("Usage", (), {"free": free}))
        only(ask(installation, "disk", questline_data_dir=tmp_path / "not" / "made"), level, "GiB free")


def _certificate(folder, name, **options):
    issued = trustme.CA().issue_cert("localhost", **options)
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    issued.private_key_pem.write_to_path(cert, append=False)
    issued.cert_chain_pems[0].write_to_path(cert, append=False)
    issued.private_key_pem.write_to_path(key)
    return cert, key


def test_certificates_that_expire_or_do_not_fit_their_key_are_named(installation, tmp_path):
    now = datetime.now(UTC)
    cert, key = _certificate(tmp_path, "good", not_after=now + timedelta(days=300))
    assert ask(installation, "tls", tls_cert=cert, tls_key=key) == []
    only(ask(installation, "tls", tls_cert=cert, tls_key=_certificate(tmp_path, "other")[1]), "error", "cannot be used")
    soon = _certificate(tmp_path, "soon", not_after=now + timedelta(days=3))
    only(ask(installation, "tls", tls_cert=soon[0], tls_key=soon[1]), "warning", "expires on")
    late = _certificate(tmp_path, "late", not_before=now - timedelta(days=9), not_after=now - timedelta(days=1))
    only(ask(installation, "tls", tls_cert=late[0], tls_key=late[1]), "error", "expired")
