"""Processes of an installation say that they are alive, notice when they differ, and one beat sends the ticks."""

import os
import sys
from contextlib import contextmanager, suppress
from signal import SIGKILL, SIGTERM
from subprocess import Popen

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from api.metrics.collector import FleetCollector, fleet_registry
from config.settings import Settings
from config.shared_settings import shared_values
from models.database.fleet.installation import InstallationTable
from models.failpoints import now_us
from models.fleet.installation import Change, Step, new_record
from models.installation.joining import join
from models.installation.member import Member
from models.state.fleet.beat_lease import BeatLease
from models.state.fleet.installation import InstallationCopy
from models.state.fleet.presence import Presence, ProcessFacts
from models.state.keys import BEAT_LEASE, PROCESS_FACTS, PROCESSES_HEARD
from tests.support.environment import database_settings
from tests.support.servers import wait_until
from tests.support.stack import SHARDS
from tools.doctor.examination import examine
from tools.doctor.registry import CHECKS, Installation
from worker.celery_app import make_app


@pytest.fixture
def settings(redis, redis_url, engine):
    """The settings of a process that has joined."""
    parts = {name.lower(): value for name, value in database_settings(engine.url).items()}
    found = Settings.model_validate({"state_url": redis_url, "broker_url": redis_url, "shards": SHARDS, **parts})
    return join(found)


@pytest.fixture
def copy(redis):
    return InstallationCopy(redis)


@pytest.fixture
def presence(redis):
    return Presence(redis)


def _facts(name, role="worker", **said):
    return ProcessFacts(name, role, "1.0", 1, {"SHARDS": "4"}, **said)


def test_a_process_is_alive_until_it_leaves_or_is_silent(redis, presence):
    for name in ("a", "b", "c"):
        presence.note(_facts(name))
    presence.leave("b")
    redis.zincrby(PROCESSES_HEARD, -60_000, "c")
    assert [one.name for one in presence.alive()] == ["a"]
    presence.note(_facts("d"))
    assert set(redis.hkeys(PROCESS_FACTS)) == {b"a", b"d"}  # nothing is left of the silent one


def test_what_another_release_says_does_not_hide_the_others(redis, presence):
    presence.note(_facts("a"))
    for name, said in (("b", b"[]"), ("c", b"no json"), ("d", b'{"name": "d"}')):
        redis.zadd(PROCESSES_HEARD, {name: 9e15})
        redis.hset(PROCESS_FACTS, name, said)
    assert [one.name for one in presence.alive()] == ["a"]


def test_a_member_says_what_it_goes_by(settings, presence, copy):
    member = Member(settings, "worker")
    member.poll()
    (one,) = presence.alive()
    assert (one.role, one.values, one.revision) == ("worker", copy.read().values, copy.read().revision)
    member.leave()
    assert presence.alive() == []


def test_a_member_ends_once_when_the_settings_change(settings, copy):
    ended = []
    member = Member(settings, "worker", stop=lambda: ended.append(1))
    member.poll()
    record = copy.read()
    draining = record.changed({}, Change({"SHARDS": "8"}, Step.DRAINING))
    copy.write(draining)
    member.poll()
    assert ended == []  # nothing has changed yet
    copy.write(draining.changed({"SHARDS": "8"}))
    for _ in range(3):
        member.poll()
    assert ended == [1]


def test_a_member_that_can_go_on_does(settings, copy, presence):
    taken = []

    def take(record):
        taken.append(record)
        return True

    member = Member(settings, "receiver", on_change=take, stop=pytest.fail)
    member.poll()
    changed = copy.read().changed({"SHARDS": "8"})
    copy.write(changed)
    for _ in range(3):
        member.poll()
    assert taken == [changed]
    assert presence.alive()[0].values == changed.values


def test_a_member_ends_when_its_redis_is_of_another_installation(settings, redis, copy):
    ended = []
    member = Member(settings, "worker", stop=lambda: ended.append(1))
    member.poll()
    redis.flushall()
    copy.write(new_record(shared_values(settings), 7))
    member.poll()
    assert ended == [1]


def test_a_member_fills_a_wiped_redis(settings, redis, engine, copy):
    member = Member(settings, "worker", stop=pytest.fail)
    member.poll()
    redis.flushall()
    member.poll()
    assert copy.read() == InstallationTable(engine).read()


def test_a_redis_of_before_a_change_is_brought_up_and_not_followed(settings, redis, engine, copy):
    table = InstallationTable(engine)
    before = table.read()
    assert before is not None
    after = before.changed({"SHARDS": "8"})
    assert table.replace(after, over=before.revision)
    copy.write(after)
    member = Member(settings, "receiver", on_change=lambda record: record.values["SHARDS"] == "8", stop=pytest.fail)
    member.poll()
    redis.flushall()
    copy.write(before)
    member.poll()
    assert copy.read() == after


def test_a_redis_that_is_away_ends_nobody(settings):
    away = "redis://127.0.0.1:1/0"
    Member(settings.model_copy(update={"state_url": away, "broker_url": away}), "worker", stop=pytest.fail).poll()


def test_one_beat_has_the_lease_until_it_lets_it_go(redis):
    ada, bob = (BeatLease(redis, name) for name in ("ada", "bob"))
    assert (ada.hold(), bob.hold(), ada.hold(), ada.holder()) == (True, False, True, "ada")
    bob.release()
    assert not bob.hold()
    ada.release()
    assert bob.hold()
    assert 0 < redis.pttl(BEAT_LEASE) <= 3000


@pytest.fixture
def beats(settings, redis_url, engine, tmp_path):
    """Starts beats, each with a schedule of its own, which ticks twice a second."""
    started: list[Popen[bytes]] = []

    def start():
        environment = {
            **os.environ, **database_settings(engine.url), "STATE_URL": redis_url, "BROKER_URL": redis_url,
            "SHARDS": str(SHARDS), "BUFFER_FLUSH_INTERVAL": "500ms",
            "QUESTLINE_DATA_DIR": str(tmp_path / f"beat-{len(started)}"),
        }  # fmt: skip
        with (tmp_path / f"{len(started)}.log").open("wb") as log:
            started.append(Popen([sys.executable, "-m", "cli", "beat"], env=environment, stdout=log, stderr=log))
        return started[-1]

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def test_a_second_beat_stands_by_and_follows_the_first(beats, redis, presence):
    lease = BeatLease(redis, "")
    first = beats()
    wait_until(lambda: (lease.holder() or "").endswith(f":{first.pid}"))
    second = beats()
    wait_until(lambda: [one.name for one in presence.alive() if one.stands_by and one.name.endswith(f":{second.pid}")])
    assert (lease.holder() or "").endswith(f":{first.pid}")
    first.send_signal(SIGKILL)
    wait_until(lambda: (lease.holder() or "").endswith(f":{second.pid}"), seconds=10)
    redis.delete("maintenance")
    wait_until(lambda: redis.llen("maintenance") > 0, message="the second beat sends no ticks")
    second.send_signal(SIGTERM)
    assert second.wait(20) == 0
    assert lease.holder() is None


@contextmanager
def _examined(settings, redis, engine, **given):
    yield Installation(settings, redis, redis, engine, make_app(settings), now_us, settings.model_copy(update=given))


def _messages(settings, redis, engine, name, **given):
    with _examined(settings, redis, engine, **given) as installation:
        return [(found.level, found.says) for found in examine(installation, [CHECKS[name]]) if found.level != "ok"]


def test_the_doctor_tells_of_two_beats(settings, redis, engine, presence):
    presence.note(_facts("beat@a:1", "beat"))
    assert _messages(settings, redis, engine, "beats") == []
    BeatLease(redis, "beat@a:1").hold()
    presence.note(_facts("beat@b:2", "beat", stands_by=True))
    ((level, says),) = _messages(settings, redis, engine, "beats")
    assert (level, "2 beats run" in says, "beat@a:1 sends" in says) == ("warning", True, True)


def test_the_doctor_tells_of_processes_that_differ(settings, redis, engine, presence, copy):
    values = copy.read().values
    presence.note(ProcessFacts("a", "worker", "1.0", 1, values, {"EVALUATION_LOG": "off"}))
    assert _messages(settings, redis, engine, "fleet") == []
    presence.note(ProcessFacts("b", "receiver", "1.1", 1, {**values, "SHARDS": "9"}, {"EVALUATION_LOG": "all"}))
    presence.note(ProcessFacts("c", "receiver", "1.1", 1, values, {}, skew_ms=-90_000))
    found = _messages(settings, redis, engine, "fleet")
    assert [level for level, _ in found] == ["error", "warning", "warning", "error"]
    for (_, says), word in zip(found, ["SHARDS=9", "several releases", "EVALUATION_LOG", "90.0 s behind"], strict=True):
        assert word in says


def test_the_doctor_tells_of_the_record(settings, redis, engine, copy):
    assert _messages(settings, redis, engine, "shared-settings") == []
    ((level, says),) = _messages(settings, redis, engine, "shared-settings", shards=9)
    assert (level, says) == ("error", f"SHARDS is 9 in the environment here and {SHARDS} in this installation")
    copy.write(copy.read().changed({}, Change({"SHARDS": "8"}, Step.DRAINING)))
    found = _messages(settings, redis, engine, "shared-settings")
    assert [level for level, _ in found] == ["warning"]  # PostgreSQL's is what counts
    redis.flushall()
    assert "Redis holds no record" in _messages(settings, redis, engine, "shared-settings")[0][1]


def test_metrics_tell_of_the_fleet(stack, settings, presence, copy):
    presence.note(ProcessFacts("a", "worker", "1.0", 1, copy.read().values))
    presence.note(ProcessFacts("b", "worker", "1.0", 1, {}))
    collector = FleetCollector(stack.redis, SHARDS, stack.journal, stack.records, lambda: None, stack.clock)
    text = generate_latest(fleet_registry(collector)).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert [(s.labels["role"], s.value) for s in samples if s.name == "questline_processes"] == [("worker", 2)]
    assert [s.value for s in samples if s.name == "questline_processes_differing"] == [1]
    (info,) = [sample.labels for sample in samples if sample.name == "questline_installation_info"]
    assert (info["shards"], info["max_lateness"]) == (str(SHARDS), "7d")
    assert [s.value for s in samples if s.name == "questline_installation_changing"] == [0]
