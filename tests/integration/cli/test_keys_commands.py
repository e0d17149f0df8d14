"""``questline keys`` on PostgreSQL, what the watcher makes of it, and who refuses to start without a key."""

import json
import os
import subprocess
import sys
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from cli import app
from models.database.api_keys import Rights, create_key, note_uses, read_keys, revoke_key
from models.database.connection import connect_database
from models.errors import ConfigurationError, DatabaseUnavailableError, PermanentError, UnauthenticatedError
from models.rules.calendar import microseconds
from models.state.connection import connect_state
from models.state.keys import API_KEYS
from tests.support.stack import NOON
from web.authentication.authenticator import check_address, watch_keys
from web.authentication.key_poller import KeysWatcher

AWAY = "postgresql://nobody:x@127.0.0.1:1/none"


@pytest.fixture
def cli(installation, engine):
    """Runs `questline keys` against the test's PostgreSQL."""
    return lambda *arguments: CliRunner().invoke(app, ["keys", *arguments], env={"COLUMNS": "200"})


def listed(cli):
    return json.loads(cli("list", "--json").stdout)


def test_a_key_is_printed_once_and_nothing_shows_its_secret_again(cli, engine):
    made = cli("create", "--tenant", "t1", "--scope", "ingest", "--note", "server", "--rate", "50", "--expires", "90d")
    assert made.exit_code == 0, made.output
    key = made.stdout.strip()
    _, key_id, secret = key.split("_", 2)
    (facts,) = listed(cli)
    assert facts["id"] == key_id
    assert (facts["tenant"], facts["scope"], facts["state"], facts["rate"]) == ("t1", "ingest", "active", 50)
    assert (facts["note"], facts["last_used_at"]) == ("server", None)
    (row,) = read_keys(engine)
    assert row.expires_at == row.created_at + timedelta(days=90)
    shown = [cli("list").output, cli("list", "--json").output, cli("revoke", key_id).output, repr(row)]
    with engine.connect() as connection:
        shown.append(str(connection.exec_driver_sql("SELECT * FROM api_keys").all()))
    assert not [one for one in shown if secret in one]
    assert key_id in shown[0]


def test_eighty_columns_show_every_fact_of_a_key(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    cli("create", "--tenant", "t1", "--scope", "ingest", "--note", "server", "--rate", "50", "--expires", "90d")
    (facts,) = listed(cli)
    shown = cli("list").output
    assert max(map(len, shown.splitlines())) <= 80
    times = [facts[name][:16].replace("T", " ") for name in ("created_at", "expires_at")]
    for part in (facts["id"], "t1", "ingest", "50/s", "active", "server", *times):
        assert part in shown, shown


def test_rotation_gives_a_key_of_the_same_rights_and_lets_the_old_one_run_out(cli, engine):
    cli("create", "--tenant", "t1", "--scope", "read", "--expires", "30d")
    (old,) = read_keys(engine)
    answer = json.loads(cli("rotate", old.key.key_id, "--grace", "2h", "--json").stdout)
    assert answer["key"].startswith(f"ql_{answer['id']}_")
    before, after = read_keys(engine)
    assert (after.key.tenant_id, after.key.scope) == ("t1", "read")
    assert after.expires_at == after.created_at + timedelta(days=30)
    assert before.expires_at == after.created_at + timedelta(hours=2)
    assert [facts["state"] for facts in listed(cli)] == ["active", "active"]


def test_a_key_that_was_rotated_is_not_rotated_again_and_its_follower_is_named(cli, engine):
    assert "expires" not in cli("create", "--tenant", "t1", "--scope", "read").stderr
    (old,) = read_keys(engine)
    assert "expires" not in cli("rotate", old.key.key_id, "--grace", "2h").stderr
    new = read_keys(engine)[-1]
    refused = cli("rotate", old.key.key_id, "--grace", "2h")
    assert isinstance(refused.exception, PermanentError)
    assert f"rotate {new.key.key_id}" in str(refused.exception)
    assert read_keys(engine) == [read_keys(engine)[0], new]
    assert cli("rotate", new.key.key_id).exit_code == 0


def test_a_key_says_when_it_ends(cli, engine):
    said = cli("create", "--tenant", "t1", "--scope", "read", "--expires", "30d").stderr
    ends = read_keys(engine)[0].expires_at
    assert ends is not None
    assert f"it expires at {ends.isoformat(timespec='seconds')}" in said


def test_what_is_over_is_not_rotated_and_what_is_unknown_is_said(cli, engine):
    cli("create", "--tenant", "*", "--scope", "admin")
    (row,) = read_keys(engine)
    assert cli("revoke", row.key.key_id).exit_code == 0
    assert cli("revoke", row.key.key_id).exit_code == 0  # again: as it was
    assert listed(cli)[0]["state"] == "revoked"
    for arguments, words in ((("rotate", row.key.key_id), "is revoked"), (("revoke", "nobody"), "no key nobody")):
        refused = cli(*arguments)
        assert isinstance(refused.exception, PermanentError)
        assert words in str(refused.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--tenant", "a b", "--scope", "read"), ("--tenant", "", "--scope", "read"),
        ("--tenant", "t", "--scope", "all"),
        ("--tenant", "t", "--scope", "read", "--expires", "soon"), ("--tenant", "t", "--scope", "read", "--rate", "0"),
        ("--scope", "read"),
    ],
)  # fmt: skip
def test_a_wrong_option_makes_no_key(cli, engine, arguments):
    assert cli("create", *arguments).exit_code == 2
    assert read_keys(engine) == []


def test_the_last_use_only_moves_forward(engine):
    made, _ = create_key(engine, Rights("t1", "read"))
    later = microseconds(NOON)
    for at in (later, later - 1_000_000):  # two receivers say when they saw it
        note_uses(engine, {made.key_id: at, "unknown": at})
    assert read_keys(engine)[0].last_used_at == NOON


def test_the_watcher_goes_on_with_what_it_knows_and_leaves_a_copy_that_lapses(engine, redis):
    made, _ = create_key(engine, Rights("t1", "read"))
    watcher = KeysWatcher(engine, redis)
    with pytest.raises(DatabaseUnavailableError):
        watcher.key_store()
    watcher.refresh()
    assert 3500 < redis.ttl(API_KEYS) <= 3600
    assert made.text.split("_", 2)[2].encode() not in redis.get(API_KEYS)
    watcher._engine = connect_database(AWAY)
    with pytest.raises(DatabaseUnavailableError):
        watcher.refresh()
    assert watcher.key_store().check(made.text, 0)


def test_a_revoked_key_leaves_the_copy_as_soon_as_a_receiver_looks(engine, redis):
    made, _ = create_key(engine, Rights("t1", "read"))
    watcher = KeysWatcher(engine, redis)
    watcher.refresh()
    before = redis.get(API_KEYS)
    watcher.refresh()
    assert redis.get(API_KEYS) == before
    revoke_key(engine, made.key_id)
    watcher.refresh()
    assert redis.get(API_KEYS) != before


def test_the_watcher_keeps_the_copy_fresh_and_does_without_redis(engine, redis):
    seconds = [0.0]
    watcher = KeysWatcher(engine, redis, clock=lambda: seconds[0])
    watcher.refresh()
    redis.delete(API_KEYS)
    watcher.refresh()
    assert redis.get(API_KEYS) is None
    seconds[0] += 31
    watcher.refresh()
    assert redis.get(API_KEYS) is not None
    KeysWatcher(engine, connect_state("redis://127.0.0.1:1/0")).refresh()


def test_what_a_copy_told_is_forgotten_an_hour_after_postgresql_was_read(engine, redis):
    made, _ = create_key(engine, Rights("t1", "read"))
    KeysWatcher(engine, redis).refresh()
    redis.pexpire(API_KEYS, 600_000)  # the receiver that left the copy stopped fifty minutes ago
    seconds = [0.0]
    watcher = KeysWatcher(connect_database(AWAY), redis, clock=lambda: seconds[0])
    with pytest.raises(DatabaseUnavailableError):
        watcher.refresh()
    seconds[0] = 590.0
    assert watcher.key_store().check(made.text, 0)
    redis.delete(API_KEYS)
    with pytest.raises(DatabaseUnavailableError):
        watcher.refresh()
    assert watcher.key_store().check(made.text, 0)
    seconds[0] = 601.0
    with pytest.raises(DatabaseUnavailableError, match="not known"):
        watcher.key_store()


def test_a_newer_copy_takes_the_place_of_an_older_one(engine, redis):
    made, _ = create_key(engine, Rights("t1", "read"))
    other = KeysWatcher(engine, redis)
    other.refresh()
    watcher = KeysWatcher(connect_database(AWAY), redis)
    with pytest.raises(DatabaseUnavailableError):
        watcher.refresh()
    revoke_key(engine, made.key_id)
    other.refresh()  # another receiver reaches PostgreSQL
    with pytest.raises(DatabaseUnavailableError):
        watcher.refresh()
    with pytest.raises(UnauthenticatedError):
        watcher.key_store().check(made.text, microseconds(NOON))


def test_what_postgresql_told_itself_holds_on_for_as_long_as_it_is_away(engine, redis):
    made, _ = create_key(engine, Rights("t1", "read"))
    seconds = [0.0]
    watcher = KeysWatcher(engine, redis, clock=lambda: seconds[0])
    watcher.refresh()
    watcher._engine = connect_database(AWAY)
    redis.delete(API_KEYS)
    seconds[0] = 100_000.0
    with pytest.raises(DatabaseUnavailableError):
        watcher.refresh()
    assert watcher.key_store().check(made.text, 0)


def test_a_copy_without_keys_lets_no_request_in(engine, redis):
    KeysWatcher(engine, redis).refresh()  # the last receiver stopped before the first key was made
    watcher = KeysWatcher(connect_database(AWAY), redis)
    with pytest.raises(DatabaseUnavailableError):
        watcher.refresh()
    with pytest.raises(DatabaseUnavailableError, match="not known"):
        watcher.key_store()


def test_uses_that_could_not_be_written_down_are_kept(engine, redis):
    made, _ = create_key(engine, Rights("t1", "read"))
    watcher = KeysWatcher(connect_database(AWAY), redis)
    watcher.used(made.key_id, microseconds(NOON))
    with pytest.raises(DatabaseUnavailableError):
        watcher.note_uses()
    watcher._engine = engine
    watcher.note_uses()
    assert read_keys(engine)[0].last_used_at == NOON


def test_a_process_that_others_can_reach_starts_only_with_a_key(installation, engine, redis):
    settings = installation.model_copy(update={"http_host": "0.0.0.0"})
    for start in (check_address, lambda one: watch_keys(one, KeysWatcher(engine, redis))):
        with pytest.raises(ConfigurationError, match="questline keys create"):
            start(settings)
    # Neither PostgreSQL nor the copy can say: that is no yes.
    redis.flushall()
    away = settings.model_copy(update={"db_port": 1})
    with pytest.raises(DatabaseUnavailableError, match="not known"):
        check_address(away)
    with pytest.raises(DatabaseUnavailableError, match="not known"):
        watch_keys(settings, KeysWatcher(connect_database(AWAY), redis))
    create_key(engine, Rights("t1", "read"))
    check_address(settings)
    KeysWatcher(engine, redis).refresh()  # a receiver leaves the copy
    check_address(away)
    check_address(away.model_copy(update={"http_host": "127.0.0.1"}))
    redis.set(API_KEYS, b"\x91\x93of another release")
    with pytest.raises(DatabaseUnavailableError, match="not known"):
        check_address(away)


@pytest.mark.parametrize("verb", ["receiver", "flower"])
def test_without_keys_an_address_that_others_can_reach_is_refused_in_one_line(installation, engine, verb, tmp_path):
    told = {"HTTP_HOST": "0.0.0.0", "FLOWER_PASSWORD": "x", "QUESTLINE_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "cli", verb],
        env={**os.environ, **told}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("questline: HTTP_HOST: 0.0.0.0")
    assert "questline keys create" in last
    assert "Traceback" not in done.stderr
