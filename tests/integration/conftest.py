"""The test servers as an installation that the environment names."""

import pytest
from sqlalchemy.engine import make_url

from config.settings import Settings


@pytest.fixture
def installation(redis_url, database_url, monkeypatch):
    """Settings that name the test servers, for this process and those it starts."""
    url = make_url(database_url)
    for name, value in {
        "STATE_URL": redis_url, "DB_HOST": url.host, "DB_PORT": url.port, "DB_NAME": url.database,
        "DB_USER": url.username, "DB_PASSWORD": url.password,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    return Settings()
