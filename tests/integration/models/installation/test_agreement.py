"""A process goes by what its installation has agreed on, or does not start."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from cli.client.ports import free_port
from config.settings import Settings
from config.shared_settings import shared_values
from models.database.connection import connect_database
from models.database.fleet.installation import InstallationTable
from models.database.partitions import days_around, ensure_partitions
from models.errors import ConfigurationError, StateUnavailableError
from models.fleet.installation import PROVISIONAL, Change, Step, new_record, read_record
from models.installation.agreement import Agreement, agreed
from models.installation.clocks import MAX_SKEW, check_clocks, system_clock_us
from models.installation.evidence import check_shards
from models.installation.joining import join, known_record, shared
from models.state.connection import connect_state
from models.state.fleet.installation import InstallationCopy
from models.state.fleet.layout import Layouts
from models.state.keys import INSTALLATION
from tests.support.environment import database_settings


@pytest.fixture
def settings(redis, redis_url, engine):
    """Settings of the test servers, as an environment that names no shared one."""
    for name, value in {"STATE_URL": redis_url, "BROKER_URL": redis_url, **database_settings(engine.url)}.items():
        os.environ[name] = value
    yield Settings()
    for name in ("STATE_URL", "BROKER_URL", *database_settings(engine.url)):
        del os.environ[name]


def _set(settings, **named):
    """The same settings, with these named by the environment."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return Settings(**(given | named))


@pytest.fixture
def table(engine):
    return InstallationTable(engine)


@pytest.fixture
def copy(redis):
    return InstallationCopy(redis)


def test_the_first_process_writes_its_settings_down_in_both_servers(settings, table, copy):
    join(_set(settings, shards=8, event_retention=timedelta(days=40)))
    record = table.read()
    assert record == copy.read()
    assert record.values == {"SHARDS": "8", "MAX_LATENESS": "7d", "RECORD_TTL": "1d", "EVENT_RETENTION": "40d"}


def test_one_that_names_nothing_goes_by_the_installation(settings):
    join(_set(settings, shards=8, max_lateness=timedelta(days=3)))
    joined = join(settings)
    assert (joined.shards, joined.max_lateness, joined.event_retention) == (8, timedelta(days=3), None)


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ({"shards": 8}, "SHARDS is 8 here and 16 in this installation"),
        ({"max_lateness": timedelta(days=3)}, "MAX_LATENESS is 3d here and 7d in this installation"),
        ({"record_ttl": timedelta(hours=1)}, "RECORD_TTL is 1h here and 1d in this installation"),
        ({"event_retention": timedelta(days=30)}, "EVENT_RETENTION is 30d here and not set in this installation"),
        ({"shards": 8, "record_ttl": timedelta(hours=1)}, "SHARDS is 8 here .*; RECORD_TTL is 1h here"),
    ],
)
def test_one_that_names_another_value_is_refused_with_both(settings, named, line):
    join(settings)
    with pytest.raises(ConfigurationError, match=line) as refused:
        join(_set(settings, **named))
    assert "\n" not in str(refused.value)


def test_the_same_length_in_another_notation_is_the_same(settings):
    join(_set(settings, max_lateness="168h"))
    join(_set(settings, max_lateness="1w"))


def test_a_value_that_was_changed_since_is_out_of_date_and_not_wrong(settings, table, copy):
    join(_set(settings, shards=8))
    record = table.read()
    changed = record.changed({"SHARDS": "32"}).changed({"SHARDS": "64"})
    assert table.replace(changed, over=record.revision)
    assert copy.write(changed) == changed
    assert [join(_set(settings, shards=number)).shards for number in (8, 32, 64)] == [64, 64, 64]
    with pytest.raises(ConfigurationError, match="SHARDS is 16 here and 64"):
        join(_set(settings, shards=16))


def test_redis_decides_while_postgres_is_away(settings, table):
    join(_set(settings, shards=8))
    alone = _set(settings, db_port=free_port())
    assert join(alone).shards == 8
    with pytest.raises(ConfigurationError, match="SHARDS is 4 here and 8"):
        join(_set(alone, shards=4))


def test_postgres_decides_while_redis_is_away(settings):
    join(_set(settings, shards=8))
    away = f"redis://127.0.0.1:{free_port()}/0"
    alone = _set(settings, state_url=away, broker_url=away)
    assert join(alone).shards == 8
    with pytest.raises(ConfigurationError, match="SHARDS is 4 here and 8"):
        join(_set(alone, shards=4))


def test_a_wiped_redis_is_filled_again(settings, redis, table, copy):
    join(settings)
    redis.flushall()
    join(settings)
    assert copy.read() == table.read()


def test_with_neither_server_nothing_is_decided(settings, engine):
    away = InstallationCopy(connect_state("redis://127.0.0.1:1/0"))
    with pytest.raises(StateUnavailableError):
        _agreement(_postgres_away(), away).agree(settings)


def test_what_redis_got_while_postgres_was_away_gives_way_to_postgres(settings, table, copy):
    alone = _agreement(_postgres_away(), copy)
    assert alone.agree(_set(settings, shards=8)).revision == PROVISIONAL
    assert alone.agree(_set(settings, shards=4)).values["SHARDS"] == "8"  # the first one holds until then
    record = table.create(new_record(shared_values(settings), 1))
    assert join(settings).shards == 16
    assert copy.read() == record


def test_a_new_postgres_takes_what_redis_knows(settings, table, copy):
    alone = _agreement(_postgres_away(), copy)
    record = alone.agree(_set(settings, shards=8))
    assert join(settings).shards == 8
    assert table.read().installation_id == record.installation_id


def test_a_postgres_from_before_a_change_is_brought_up_to_redis(settings, table, copy):
    join(settings)
    record = table.read()
    changed = record.changed({"SHARDS": "32"}, Change({"SHARDS": "32"}, Step.SWITCHING)).changed({})
    copy.write(changed)
    assert join(settings).shards == 32
    assert table.read() == changed


def test_a_postgres_from_before_the_record_is_no_dead_end_where_the_shards_were_changed(stack, settings, table, copy):
    stack.post(stack.event())
    ensure_partitions(stack.engine, days_around(datetime.fromtimestamp(stack.clock() / 1e6, UTC), timedelta(days=1)))
    stack.flusher.flush()
    changed = new_record(shared_values(_set(settings, shards=4)), 1).changed({"SHARDS": "32"})
    copy.write(changed)
    assert join(settings).shards == 32
    assert table.read() == changed


def test_commands_go_by_the_newest_record_where_one_server_is_older(settings, table, copy):
    join(_set(settings, shards=8))
    changed = table.read().changed({"SHARDS": "32"})
    copy.write(changed)
    assert shared(settings).shards == 32
    assert known_record(settings) == changed
    table.replace(changed.changed({"RECORD_TTL": "2h"}), over=1)
    assert shared(settings).record_ttl == timedelta(hours=2)


def test_two_installations_are_not_mixed(settings, engine, table, copy):
    join(settings)
    with engine.begin() as connection:
        connection.exec_driver_sql("TRUNCATE installation_settings")
    table.create(new_record(shared_values(settings), 1))
    with pytest.raises(ConfigurationError, match="two installations"):
        join(settings)


def test_of_many_first_ones_one_decides(settings, engine, table):
    known = [table.create(new_record({"SHARDS": str(number)}, 1)) for number in (8, 16)]
    assert known[0] == known[1]
    assert known[0].values["SHARDS"] == "8"


def test_an_older_copy_never_takes_the_place_of_a_newer_one(copy):
    old = new_record({"SHARDS": "8"}, 3)
    new = old.changed({"SHARDS": "9"})
    assert copy.write(new) == new
    assert copy.write(old) == new


def test_a_record_survives_the_way_through_text():
    record = new_record({"SHARDS": "8"}, 1).changed({"SHARDS": "9"}, Change({"SHARDS": "9"}, Step.DRAINING))
    assert read_record(record.to_json()) == record
    assert record.former == {"SHARDS": ("8",)}


def test_a_release_without_a_record_is_adopted_if_its_events_fit(stack, settings):
    stack.post(stack.event())
    ensure_partitions(stack.engine, days_around(datetime.fromtimestamp(stack.clock() / 1e6, UTC), timedelta(days=1)))
    stack.flusher.flush()
    with pytest.raises(ConfigurationError, match="the stored events were laid out by SHARDS="):
        join(settings)
    assert join(_set(settings, shards=4)).shards == 4


def test_what_waits_in_redis_must_fit_too(stack, settings):
    users = [f"u{number}" for number in range(40)]
    stack.post(*(stack.event(user=user) for user in users))
    with pytest.raises(ConfigurationError, match="what waits in Redis was laid out by SHARDS=4"):
        join(settings)
    with pytest.raises(ConfigurationError, match="what waits in Redis was laid out by a SHARDS of at least 4"):
        join(_set(settings, shards=2))
    check_shards(stack.redis, stack.engine, 4)


def test_a_copy_that_cannot_be_read_is_said(settings, redis):
    redis.hset(INSTALLATION, mapping={"id": "x", "revision": 1, "record": "{}"})
    with pytest.raises(ConfigurationError, match="ql:installation"):
        join(settings)


@pytest.mark.parametrize("skew", [MAX_SKEW, -MAX_SKEW])
def test_a_clock_far_from_that_of_redis_is_refused(redis, engine, skew):
    check_clocks(redis, engine)
    off = int(1.2 * skew / timedelta(microseconds=1))
    with pytest.raises(ConfigurationError, match=r"the clock here says .* and that of Redis .*NTP"):
        check_clocks(redis, engine, lambda: system_clock_us() + off)


def test_a_clock_is_held_against_postgres_too(engine):
    away = connect_state("redis://127.0.0.1:1/0")
    with pytest.raises(ConfigurationError, match="that of PostgreSQL"):
        check_clocks(away, engine, lambda: 0)


def test_a_process_that_differs_ends_with_one_line(settings, tmp_path):
    join(_set(settings, shards=8))
    for verb in (["receiver"], ["worker", "--shards", "all"], ["worker", "--maintenance"], ["beat"], ["migrate"]):
        environment = {**os.environ, "SHARDS": "4", "QUESTLINE_DATA_DIR": str(tmp_path)}
        command = [sys.executable, "-m", "cli", *verb]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        said = [line for line in ended.stderr.splitlines() if line.startswith("questline:")]
        assert (ended.returncode, len(said)) == (2, 1), ended.stderr
        assert "SHARDS is 4 here and 8 in this installation" in said[0]


def _postgres_away():
    return InstallationTable(connect_database(f"postgresql://nobody:x@127.0.0.1:{free_port()}/none"))


def _agreement(table, copy):
    return Agreement(table, copy, Layouts(copy._redis), lambda _shards: None)


def test_agreed_settings_of_another_release_are_said(settings):
    record = new_record({"SHARDS": "many"}, 1)
    with pytest.raises(ConfigurationError, match="none of this release"):
        agreed(settings, record)
