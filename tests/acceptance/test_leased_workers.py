"""``questline worker --shards auto``: workers come, go and die under load, and every shard keeps one of them."""

from threading import Event, Thread

import pytest

from models.state.keys import WORKERS, lease_key
from tests.cluster.crowd import Crowd
from tests.cluster.installation import SHARDS, environment_of, in_parts
from tests.conftest import long_only
from tests.support.servers import wait_until

AUTO = ("worker", "--shards", "auto")


@pytest.fixture
def environment(redis, redis_url, engine, database_url, tmp_path):
    return environment_of(redis_url, database_url, tmp_path / "data")


def _holders(installation):
    """Who holds the shards that somebody holds."""
    held = [installation.redis.get(lease_key(shard)) for shard in range(SHARDS)]
    return [owner.decode() for owner in held if owner]


def _owners(installation):
    """How many shards each worker holds, the largest first."""
    holders = _holders(installation)
    return sorted((holders.count(owner) for owner in set(holders)), reverse=True)


@long_only
def test_workers_come_go_and_die_under_load_and_every_event_counts_once(installation, start):
    crowd = Crowd.of(installation)
    batches = crowd.batches(6000, size=5)
    enough = Event()

    def accept():
        for part in in_parts(batches, 4):
            installation.accept(part)
            enough.wait(0.06)  # a stream, not a heap

    for process in (start("worker", "--maintenance"), start("beat"), first := start(*AUTO), second := start(*AUTO)):
        process.ready()
    sender = Thread(target=accept)
    sender.start()
    wait_until(lambda: _owners(installation) == [2, 2])
    third = start(*AUTO)
    wait_until(lambda: _owners(installation) == [2, 1, 1])
    first.kill("SIGKILL")
    wait_until(lambda: _owners(installation) == [2, 2], seconds=30)
    assert second.stop(20) == 0
    assert not any(f"-{second.attrs['State']['Pid']}@" in owner for owner in _holders(installation))
    wait_until(lambda: _owners(installation) == [4])
    enough.set()
    sender.join(60)
    crowd.assert_exact()
    assert third.stop(20) == 0
    assert _owners(installation) == []
    assert installation.redis.zcard(WORKERS) == 0
