"""Durations, shards and settings as people write them."""

import re
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy.engine import make_url

from cli import main
from config.durations import parse_duration
from config.settings import Settings
from config.shards import parse_shards, queue_for, shard_for


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("1s", timedelta(seconds=1)),
        ("1.5h", timedelta(minutes=90)),
        ("40d", timedelta(days=40)),
        (" 2w ", timedelta(weeks=2)),
    ],
)
def test_a_duration_is_a_number_and_its_unit(text, length):
    assert parse_duration(text) == length


@pytest.mark.parametrize("text", ["", "1", "s", "-1s", "0s", "1 fortnight", "1s2m", "99999999999999w", "1e3s", "٣s"])
def test_anything_else_is_refused_with_the_reason(text):
    with pytest.raises(ValueError, match=r"duration|zero"):
        parse_duration(text)


@given(st.text())
def test_reading_a_duration_never_fails_in_another_way(text):
    with suppress(ValueError):
        assert parse_duration(text) > timedelta(0)


@pytest.mark.parametrize(
    ("text", "shards"),
    [("0-3", [0, 1, 2, 3]), ("7", [7]), ("0-1,5,3-4", [0, 1, 3, 4, 5]), ("all", list(range(8))), ("2,2", [2])],
)
def test_a_share_of_shards_is_read(text, shards):
    assert parse_shards(text, 8) == shards


@pytest.mark.parametrize("text", ["", "8", "3-1", "a", "0-8", "-1", "1-", "0,,1", "0/2", "3/2", "1/0", "1/2,3"])
def test_a_wrong_share_names_what_is_wrong(text):
    with pytest.raises(ValueError, match="shard"):
        parse_shards(text, 8)


@given(st.integers(1, 32), st.integers(1, 200))
def test_the_shares_of_all_workers_cover_every_shard_once(workers, shards):
    taken = [shard for n in range(workers) for shard in parse_shards(f"{n + 1}/{workers}", shards)]
    assert taken == list(range(shards))


def test_a_users_shard_is_the_crc_of_tenant_and_user():
    assert shard_for("acme", "alice", 16) == crc32(b"acme\0alice") % 16
    assert queue_for(7) == "events.7"


@given(st.text(min_size=1), st.text(min_size=1))
def test_every_user_has_a_shard(tenant, user):
    tenant, user = (text.encode("utf-8", "ignore").decode() for text in (tenant, user))
    assert 0 <= shard_for(tenant, user, 16) < 16


def test_settings_come_from_the_environment_under_the_kept_names(monkeypatch):
    for name, value in {
        "DB_HOST": "db", "DB_PORT": "6000", "DB_NAME": "n/ame", "DB_USER": "me@x", "DB_PASSWORD": "p:w/d",
        "GRPC_PORT": "1", "METRICS_PORT": "2", "BUFFER_FLUSH_INTERVAL": "250ms", "BUFFER_MAX_SIZE": "5",
        "DB_BATCH_SIZE": "7", "AB_NAMESPACE": "mygame", "MAX_LATENESS": "40d",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.database_url == "postgresql://me%40x:p%3Aw%2Fd@db:6000/n%2Fame"
    assert (settings.grpc_port, settings.metrics_port) == (1, 2)
    assert settings.buffer_flush_interval == timedelta(milliseconds=250)
    assert (settings.buffer_max_size, settings.db_batch_size, settings.ab_namespace) == (5, 7, "mygame")
    assert settings.max_lateness == timedelta(days=40)


def test_one_redis_serves_as_broker_and_state_unless_two_are_named(monkeypatch):
    monkeypatch.setenv("STATE_URL", "redis://state/0")
    assert Settings().broker == Settings().state == "redis://state/0"
    monkeypatch.setenv("BROKER_URL", "redis://broker/0")
    assert (Settings().broker, Settings().state) == ("redis://broker/0", "redis://state/0")


@pytest.mark.parametrize(
    ("name", "value"),
    [("SHARDS", "0"), ("GRPC_PORT", "70000"), ("MAX_LATENESS", "7"), ("LOG_LEVEL", "loud"), ("DB_BATCH_SIZE", "x")],
)
def test_a_wrong_setting_is_refused_by_name(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


@pytest.mark.parametrize("name", ["BROKER_URL", "STATE_URL"])
@pytest.mark.parametrize(
    "value",
    [
        "redis://:se#cret@host:6379/0",
        "redis://:se/cret@host:6379/0",
        "redis://:12#secret@host:6379/0",
        "redis://:12?secret@host:6379/0",
        "redis://:se cret@host:6379/0",
        "redis://:secret@[host:6379/0",
        "redis://:secret@host:port/0",
        "redis://:secret@host:99999/0",
        "redis://:secret@",
        "secret@host:6379",
        "http://:secret@host",
    ],
)
def test_a_url_that_is_none_is_refused_by_name_and_never_shown(monkeypatch, capsys, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert not re.search("se.?cret|host:", str(caught.value))  # a traceback shows no more
    monkeypatch.setattr("sys.argv", ["questline", "urls"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert len(said.splitlines()) == 1
    assert said.startswith(f"questline: {name}: ")
    assert not re.search("se.?cret|host:", said)


@pytest.mark.parametrize(
    "value",
    ["redis://h", "rediss://user:p%40ss%23@h:6380/1?ssl_cert_reqs=none", "redis://:p@ss'w@h/0", "redis://[::1]:6379/0"],
)
def test_every_url_that_redis_takes_is_a_setting(monkeypatch, value):
    monkeypatch.setenv("BROKER_URL", value)
    assert Settings().broker == value


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_of_postgresql_stands_in_brackets(monkeypatch, host):
    monkeypatch.setenv("DB_HOST", host)
    assert make_url(Settings().database_url).host == "::1"


_HUGE = ("9" * 12 + "d", str(10**30), "9" * 16)


def _is_a_number(annotation):
    return any(kind in str(annotation) for kind in ("int", "timedelta", "ByteSize"))


@pytest.mark.parametrize("name", [name for name, field in Settings.model_fields.items() if _is_a_number(field)])
@pytest.mark.parametrize("value", _HUGE)
def test_every_number_and_duration_has_an_upper_bound_that_is_told_in_one_line(monkeypatch, capsys, name, value):
    monkeypatch.setenv(name.upper(), value)
    monkeypatch.setattr("sys.argv", ["questline", "migrate"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if name.upper() in line]
    assert line.startswith(f"questline: {name.upper()}: ")
    assert value in line


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"MAX_LATENESS": "3000d"}, "MAX_LATENESS: must be at most 365d (is '3000d')"),
        ({"MAX_LATENESS": "366d"}, "MAX_LATENESS: must be at most 365d (is '366d')"),
        ({"RECORD_TTL": "1ms"}, "RECORD_TTL: must be at least 1s (is '1ms')"),
        ({"REQUEST_TIMEOUT": "1ms"}, "REQUEST_TIMEOUT: must be at least 100ms (is '1ms')"),
    ],
)
def test_a_duration_out_of_bounds_is_told_with_its_bound(monkeypatch, capsys, setting, said):
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["questline", "up"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == f"questline: {said}\n"


def test_no_two_advisory_locks_of_postgresql_have_one_number():
    root = Path(__file__).parents[3]
    files = [
        file for room in ("models", "migrations", "tasks", "worker", "api") for file in (root / room).rglob("*.py")
    ]
    numbers = [number for file in files for number in re.findall(r"\b7_305_116_274_\d{3}\b", file.read_text())]
    assert len(numbers) > 3
    assert sorted(numbers) == sorted(set(numbers))
