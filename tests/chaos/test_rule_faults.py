"""The fault of rules on the servers of the tests: sessions stand still, and rules are published all the same."""

from random import Random
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from config.settings import Settings
from models.failpoints import now_us
from models.state.fleet.fences import Fences, revision_of
from tasks.rules.source import rule_source
from tests.support.environment import database_settings
from tests.support.publication import newest_revision
from tests.support.servers import wait_until
from tools.chaos.faults.rules import RULE_FAULTS
from worker.wiring import read_challenges


@pytest.fixture
def installation(redis_url, direct_database_url, monkeypatch) -> Any:
    """As the fault knows it."""
    for name, value in {"STATE_URL": redis_url, **database_settings(direct_database_url)}.items():
        monkeypatch.setenv(name, value)
    return SimpleNamespace(settings=Settings())


@pytest.fixture
def source(installation, redis, engine):
    """A worker's way to the rules, with a session of its own."""
    settings = installation.settings
    source = rule_source(settings, redis, read_challenges(settings), now_us)
    source.newest()
    return source


def test_rules_are_published_while_the_sessions_of_workers_stand_still(installation, source, engine, redis):
    (fault,) = RULE_FAULTS
    heal = fault.strike(installation, Random(1))
    with engine.connect() as connection:
        asked = "SELECT pid FROM pg_stat_activity WHERE application_name = 'questline-rules'"
        sessions = [psutil.Process(pid) for (pid,) in connection.exec_driver_sql(asked)]
    try:
        assert {session.status() for session in sessions} == {psutil.STATUS_STOPPED}
        assert newest_revision(engine) == 2
        fences = Fences(redis, installation.settings.shards)
        assert {revision_of(fence) for fence in fences.read()} == {2}
        assert source.newest().revision == 2
    finally:
        assert heal()
    wait_until(lambda: not any(_stands_still(session) for session in sessions))


def _stands_still(session: psutil.Process) -> bool:
    return bool(session.is_running() and session.status() == psutil.STATUS_STOPPED)


def test_where_postgresql_is_away_it_misses(installation):
    (fault,) = RULE_FAULTS
    away: Any = SimpleNamespace(settings=installation.settings.model_copy(update={"db_port": 1}))
    assert not fault.strike(away, Random(1))()
