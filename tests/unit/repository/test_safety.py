"""The tests empty no server that may be somebody's."""

import pytest

from tests.support.safety import NotATestServerError, check_test_database, check_test_redis


@pytest.mark.parametrize("name", ["challenge_db", "tests", "test_of_life", ""])
def test_a_database_whose_name_does_not_end_in_test_is_refused(name):
    with pytest.raises(NotATestServerError, match="whose name ends in _test"):
        check_test_database(f"postgresql://u:p@host:5432/{name}?sslmode=require")


def test_a_database_for_tests_is_taken():
    check_test_database("postgresql://u:p@host:5432/questline_test?sslmode=require")


def test_a_redis_that_holds_a_key_is_refused(redis):
    redis.set("anything", 1)
    with pytest.raises(NotATestServerError, match="not empty"):
        check_test_redis(redis)


def test_an_empty_redis_is_taken(redis):
    check_test_redis(redis)
