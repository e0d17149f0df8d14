"""What keeps the tests from emptying servers that are not theirs.

Tests flush all of Redis and truncate every table. A server that they start themselves is theirs. One that
``TEST_STATE_URL`` or ``TEST_DATABASE_URL`` names must look like a test's, or nothing runs.
"""

from redis import Redis
from sqlalchemy.engine import make_url

TEST_SUFFIX = "_test"


class NotATestServerError(Exception):
    """The server may hold what somebody needs."""


def check_test_redis(client: Redis) -> None:
    """Refuse a Redis that holds anything, in whichever of its databases: FLUSHALL empties them all."""
    found = client.info("keyspace")
    if found:
        raise NotATestServerError(
            f"TEST_STATE_URL names a Redis that is not empty ({', '.join(sorted(found))}), and tests empty it: "
            "name another, or run FLUSHALL yourself if an interrupted test run left this"
        )


def check_test_database(url: str) -> None:
    """Refuse a database whose name does not say that it is for tests."""
    name = make_url(url).database or ""
    if not name.endswith(TEST_SUFFIX):
        raise NotATestServerError(
            f"TEST_DATABASE_URL names the database {name!r}, and tests empty its tables: "
            f"give them one whose name ends in {TEST_SUFFIX}"
        )
