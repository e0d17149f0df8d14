"""The proxy that cuts replies: what comes through, and what a driver of ours makes of half a reply."""

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from cli.client.ports import free_port, is_free
from models.database.connection import connect_database, database_errors
from models.errors import DatabaseUnavailableError, StateUnavailableError
from models.state.connection import connect_state, state_errors
from tests.support.servers import wait_until
from tools.chaos.proxy import CuttingProxy


@pytest.fixture
def proxied():
    """Starts proxies before ports of this machine."""
    started = []

    def start(port):
        proxy = CuttingProxy(port)
        started.append(proxy)
        proxy.start()
        return proxy

    yield start
    for proxy in started:
        proxy.close()


@pytest.fixture
def before_redis(redis, redis_url, proxied):
    return proxied(redis.connection_pool.connection_kwargs["port"])


def through(proxy, redis):
    password = redis.connection_pool.connection_kwargs.get("password")
    return f"redis://:{password}@127.0.0.1:{proxy.port}/0" if password else f"redis://127.0.0.1:{proxy.port}/0"


def test_what_is_not_cut_comes_through_whole(before_redis, redis):
    with connect_state(through(before_redis, redis)) as client:
        client.set("long", b"x" * 1_000_000)
        assert client.get("long") == b"x" * 1_000_000
    assert before_redis.cuts == 0


@pytest.mark.parametrize("after", [0, 1, 10_000])
def test_a_cut_reply_was_done_and_is_not_known_to_be(before_redis, redis, after):
    with connect_state(through(before_redis, redis)) as client:
        client.ping()
        before_redis.cut(1, after=after)
        with pytest.raises(StateUnavailableError), state_errors():
            client.incr("count")
        assert redis.get("count") == b"1"
        client.incr("count")
    assert redis.get("count") == b"2"
    assert before_redis.cuts == 1


def test_a_transaction_whose_answer_is_cut_fails_as_a_passing_fault(engine, proxied):
    proxy = proxied(engine.url.port)
    url = engine.url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
    client = connect_database(url.replace("+psycopg2", ""), application="test")
    try:
        with client.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
            proxy.cut(1, after=1)
            with pytest.raises(DatabaseUnavailableError), database_errors():
                connection.exec_driver_sql("SELECT 2")
        with client.connect() as connection:
            assert connection.exec_driver_sql("SELECT 3").scalar() == 3
    finally:
        client.dispose()


def test_a_server_that_is_away_is_away_behind_the_proxy_too(proxied):
    proxy = proxied(free_port())
    client = Redis(port=proxy.port, retry=Retry(NoBackoff(), 0))
    with pytest.raises(RedisConnectionError):
        client.ping()
    client.close()


def test_a_closed_proxy_leaves_nothing_open(proxied):
    proxy = proxied(free_port())
    port = proxy.port
    proxy.close()
    proxy.close()
    wait_until(lambda: is_free(port))
