"""Leases of shards in a real Redis: one holder, renewed or free again, by Redis' own clock."""

from datetime import timedelta

import pytest

from models.errors import StateUnavailableError
from models.state.connection import connect_state
from models.state.fleet.leases import Leases
from models.state.keys import WORKERS, lease_key

SHARDS, TTL = 4, timedelta(seconds=10)


@pytest.fixture
def ada(redis):
    return Leases(redis, "ada", shards=SHARDS, ttl=TTL)


@pytest.fixture
def bob(redis):
    return Leases(redis, "bob", shards=SHARDS, ttl=TTL)


def test_a_lease_has_one_holder(ada, bob):
    assert ada.hold([0, 1]) == {0, 1}
    assert bob.hold([1, 2]) == {2}
    assert ada.hold([0, 1, 2]) == {0, 1}
    assert (ada.free(), bob.free()) == ([0, 1, 3], [2, 3])


def test_only_its_holder_releases_a_lease(ada, bob):
    ada.hold([0])
    assert bob.release([0]) == set()
    assert ada.release([0, 1]) == {0}
    assert bob.hold([0]) == {0}


def test_holding_renews_and_what_expired_is_free(redis, ada, bob):
    ada.hold([0, 1])
    redis.pexpire(lease_key(0), 60)
    ada.hold([0])
    assert 9_000 < redis.pttl(lease_key(0)) <= 10_000
    redis.delete(lease_key(1))  # as its lifetime does
    assert bob.hold([1]) == {1}
    assert ada.hold([0, 1]) == {0}


def test_workers_know_of_one_another_until_they_leave_or_fall_silent(redis, ada, bob):
    bob.join()
    assert ada.join() == ["ada", "bob"]
    bob.leave()
    assert ada.join() == ["ada"]
    bob.join()
    redis.zincrby(WORKERS, -10_001, "bob")
    assert ada.join() == ["ada"]
    assert bob.join() == ["ada", "bob"]


def test_nothing_is_left_of_workers_that_all_died(redis, ada):
    ada.join()
    ada.hold(range(SHARDS))
    assert all(0 < redis.pttl(key) <= 10_000 for key in [WORKERS, *map(lease_key, range(SHARDS))])


def test_a_redis_that_is_away_is_said_so():
    leases = Leases(connect_state("redis://127.0.0.1:1/0"), "ada", shards=SHARDS, ttl=TTL)
    for ask in (leases.join, leases.leave, leases.free, lambda: leases.hold([0]), lambda: leases.release([0])):
        with pytest.raises(StateUnavailableError):
            ask()
