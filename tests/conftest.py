"""Fixtures on real servers. Each test starts on an empty Redis and on empty tables."""

import os
import re
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from migrations.runner import migrate
from models.database.connection import connect_database
from models.database.tables import metadata
from models.state.connection import connect_state
from tests.support.safety import check_test_database, check_test_redis
from tests.support.servers import embedded_postgres, embedded_redis, given
from tests.support.stack import Stack

TESTS = Path(__file__).parent
ROOT = TESTS.parent
SLOW = re.compile(r"(?m)^pytestmark = .*\bpytest\.mark\.slow\b")

# By default a traceback is drawn with every local variable, which takes half a minute where one is a batch.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)
LOGS = structlog.get_config()


@pytest.fixture(autouse=True)
def _logs_as_configured():
    """A test may set logs up otherwise; left so, the next one would spend a minute on the locals of a traceback."""
    yield
    structlog.configure(**LOGS)


def pytest_addoption(parser):
    parser.addoption("--fast", action="store_true", help="leave out the files whose tests are marked slow")


def pytest_ignore_collect(collection_path, config):
    """None where the file is not left out: others may have a reason."""
    return True if config.getoption("--fast") and is_slow(collection_path) else None


def pytest_report_header(config):
    if not config.getoption("--fast"):
        return None
    given = [ROOT / argument for argument in config.args]
    left_out = sorted(str(path.relative_to(ROOT)) for top in given for path in top.rglob("test_*.py") if is_slow(path))
    rest = sorted(folder.name for folder in TESTS.iterdir() if any(folder.rglob("test_*.py")) and folder not in given)
    return [f"left out, see make test: all of {', '.join(rest)}; and {len(left_out)} slow files:", *left_out]


def is_slow(path):
    """Whether a file of tests says so of all its tests."""
    return path.suffix == ".py" and SLOW.search(path.read_text()) is not None


# An example may take long on a busy machine; each test has a timeout.
settings.register_profile("questline", deadline=None)
settings.load_profile("questline")

LONG = bool(os.environ.get("TEST_LONG"))
long_only = pytest.mark.skipif(not LONG, reason="takes long: `make test-long` runs it")


def examples(count):
    """How many examples a property is tried on: ten times as many in ``make test-long``."""
    return count * (10 if LONG else 1)


@pytest.fixture
def anyio_backend():
    """The one that the product runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    """The URL of a real Redis or Valkey for this run."""
    url = given("TEST_STATE_URL")
    if url:
        with connect_state(url) as client:
            check_test_redis(client)
            yield url
            client.flushall()
        return
    with embedded_redis(tmp_path_factory.mktemp("redis-server")) as url:
        yield url


@pytest.fixture(scope="session")
def database_url(tmp_path_factory):
    """The URL of a migrated database on a real PostgreSQL for this run."""
    url = given("TEST_DATABASE_URL")
    if url:
        check_test_database(url)
        _migrated(url)
        yield url
        return
    with embedded_postgres(tmp_path_factory.mktemp("postgres-server")) as url:
        _migrated(url)
        yield url


@pytest.fixture(scope="session")
def direct_database_url(database_url):
    """The same database without the pooler that may be before it: each connection is a session of its own."""
    return given("TEST_DIRECT_DATABASE_URL") or database_url


def _migrated(url):
    engine = connect_database(url)
    migrate(engine)
    engine.dispose()


@pytest.fixture
def redis(redis_url):
    """A client on an empty Redis."""
    client = connect_state(redis_url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def engine(database_url):
    """An engine on empty tables."""
    engine = connect_database(database_url)
    empty_tables(engine)
    yield engine
    engine.dispose()


def empty_tables(engine):
    """Take out whatever earlier tests left."""
    with engine.begin() as connection:
        names = ", ".join(table.name for table in metadata.sorted_tables)
        connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY")


@pytest.fixture
def stack(redis, engine) -> Stack:
    """The hot and cold path on empty servers."""
    return Stack(redis, engine)
