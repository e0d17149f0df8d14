"""The test servers as an installation that the environment names."""

import logging

import pytest
import structlog
from typer.testing import CliRunner

from cli import VERBS, app
from config.settings import Settings
from tests.support.environment import database_settings
from tests.support.receiver import Receiver
from tests.support.rule_files import Files
from tests.support.stack import SHARDS


@pytest.fixture
def installation(redis_url, database_url, monkeypatch):
    """Settings that name the test servers, for this process and those it starts."""
    for name, value in {"STATE_URL": redis_url, **database_settings(database_url)}.items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.fixture
def quietly(engine, redis_url, monkeypatch, tmp_path):
    """Makes a function of a verb, on the servers of the test; its log lines stay out of its answer."""
    told = {"STATE_URL": redis_url, "BROKER_URL": redis_url, "SHARDS": str(SHARDS), "QUESTLINE_DATA_DIR": str(tmp_path)}
    for name, value in (database_settings(engine.url) | told).items():
        monkeypatch.setenv(name, value)
    silent = structlog.make_filtering_bound_logger(logging.CRITICAL)

    def of(verb):
        quiet = lambda *_, **_names: structlog.configure(wrapper_class=silent)  # noqa: E731
        monkeypatch.setattr(f"{VERBS[verb].module}.configure_logs", quiet)
        return lambda *options: CliRunner().invoke(app, [verb, *options])

    return of


@pytest.fixture
async def receiver(redis):
    """The receiver's application; its requests are calls."""
    made = Receiver(redis)
    yield made
    await made.client.aclose()
    made.committer.close()


@pytest.fixture
def files():
    """Challenges files that exist in the test only."""
    return Files()
