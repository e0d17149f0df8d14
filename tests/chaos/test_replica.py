"""A replica that takes over behind the proxy and gives back: the same address, and nothing is lost."""

import subprocess
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError

from cli.client.ports import LOOPBACK
from models.state.connection import connect_state
from models.state.server.servers import ReplicaGivenError
from tests.support.servers import embedded_redis, wait_until
from tools.chaos.proxy import CuttingProxy
from tools.chaos.replica import Replica
from tools.local.discovery import find_redis_servers


@pytest.fixture
def master_url(tmp_path):
    with embedded_redis(tmp_path / "master") as url:
        yield url


@contextmanager
def started(replica):
    process = subprocess.Popen(replica.program.command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def test_the_replica_takes_over_and_gives_back(tmp_path, master_url):
    replica = Replica(tmp_path, master_url, str(find_redis_servers()[0].binary))
    proxy = CuttingProxy(urlsplit(master_url).port or 0)
    proxy.start()
    through = f"{master_url.rpartition('@')[0]}@{LOOPBACK}:{proxy.port}/0"
    try:
        with started(replica), connect_state(through) as client, connect_state(master_url) as former:
            client.set("before", "1")
            assert replica.take_over()
            with pytest.raises((ReadOnlyError, RedisConnectionError)):
                former.set("lost", "1")
            with connect_state(master_url) as anew, pytest.raises(ReplicaGivenError):
                anew.set("lost", "1")
            proxy.point_at(replica.port)
            wait_until(lambda: written(client, "meanwhile"))
            replica.give_back()
            proxy.point_at(replica.master_port)
            wait_until(lambda: written(client, "after"))
            assert client.mget("before", "meanwhile", "after", "lost") == [b"1", b"1", b"1", None]
            assert former.get("meanwhile") == b"1"
    finally:
        proxy.close()


def written(client, key):
    try:
        return client.set(key, "1")
    except RedisConnectionError:
        return False
