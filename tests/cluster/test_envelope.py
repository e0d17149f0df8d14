"""The messages the receiver publishes: Celery's own envelope, sent in one round trip."""

import base64
import json
import time
from uuid import uuid4

import msgpack
import pytest

from cli.client.ports import LOOPBACK, free_port
from config.settings import Settings
from config.shards import queue_for
from models.errors import BrokerUnavailableError
from models.state.connection import connect_state
from models.state.queue.batches import Batch
from tasks.broker.publisher import BatchPublisher
from tasks.definitions import APPLY_EVENTS
from tests.cluster.nodes import LocalRedis
from worker.celery_app import make_app


@pytest.fixture
def publisher(redis, redis_url):
    """A publisher whose connection is open."""
    with make_app(Settings(broker_url=redis_url, state_url=redis_url)) as app:
        publisher = BatchPublisher(app)
        publisher.publish([_batch(0)])
        redis.flushall()
        yield publisher


def _batch(shard, packed=b"\x91\xc4\x02\x00\xff"):
    return Batch(shard, uuid4().hex, packed)


def _messages(redis, shard):
    """A queue's messages, oldest first."""
    return [json.loads(message) for message in reversed(redis.lrange(queue_for(shard), 0, -1))]


def test_a_batch_is_one_task_under_its_own_id(redis, publisher):
    batch = _batch(3)
    publisher.publish([batch])
    [message] = _messages(redis, 3)
    headers = message["headers"]
    assert (headers["id"], headers["root_id"], headers["task"]) == (batch.batch_id, batch.batch_id, APPLY_EVENTS)
    assert headers["ignore_result"] is True
    assert message["properties"]["delivery_info"] == {"exchange": "", "routing_key": "events.3"}


def test_the_body_carries_the_bytes_of_the_journal(redis, publisher):
    batch = _batch(3)
    publisher.publish([batch])
    [message] = _messages(redis, 3)
    assert (message["content-type"], message["content-encoding"]) == ("application/x-msgpack", "binary")
    assert message["properties"]["body_encoding"] == "base64"
    arguments, keywords, _embedded = msgpack.unpackb(base64.b64decode(message["body"]))
    assert arguments == [3, batch.batch_id, batch.packed]
    assert keywords == {}


def test_what_flower_and_logs_show_of_a_batch_stays_short(redis, publisher):
    publisher.publish([_batch(3, packed=bytes(100_000))])
    [message] = _messages(redis, 3)
    assert message["headers"]["argsrepr"] == "(shard 3, 100000 bytes)"
    assert len(json.dumps(message["headers"])) < 1000


def test_batches_keep_their_order_and_go_to_their_own_queues(redis, publisher):
    batches = [_batch(shard) for shard in (0, 1, 0, 1, 0)]
    publisher.publish(batches)
    for shard in (0, 1):
        ids = [message["headers"]["id"] for message in _messages(redis, shard)]
        assert ids == [batch.batch_id for batch in batches if batch.shard == shard]


def test_many_batches_take_one_push_each_and_one_round_trip(redis, publisher):
    one, pushes_of_one = _reads_and_pushes(redis, lambda: publisher.publish([_batch(0)]))
    five, pushes_of_five = _reads_and_pushes(redis, lambda: publisher.publish([_batch(shard) for shard in range(5)]))
    assert (pushes_of_one, pushes_of_five) == (1, 5)
    assert five == one


def _reads_and_pushes(redis, act):
    """How often the server read from any client meanwhile, and how many messages it got."""
    redis.config_resetstat()
    before = redis.info("stats")["total_reads_processed"]
    act()
    reads = redis.info("stats")["total_reads_processed"] - before
    return reads, redis.info("commandstats")["cmdstat_lpush"]["calls"]


@pytest.mark.timeout(20)
def test_a_broker_that_is_away_is_said_so_and_taken_again_once_it_is_back(tmp_path):
    server = LocalRedis(tmp_path)
    server.ready()
    with make_app(Settings(broker_url=server.url)) as app:
        publisher = BatchPublisher(app)
        publisher.publish([_batch(0)])
        server.stop()
        for _ in range(2):  # the first on the connection it had, the second on none
            with pytest.raises(BrokerUnavailableError):
                publisher.publish([_batch(0), _batch(1)])
        server.restart()
        kept = _batch(1)
        publisher.publish([kept])
        with connect_state(server.url) as redis:
            assert [message["headers"]["id"] for message in _messages(redis, 1)] == [kept.batch_id]
    server.teardown()


@pytest.mark.timeout(20)
def test_a_broker_that_never_was_there_is_said_so():
    with make_app(Settings(broker_url=f"redis://{LOOPBACK}:{free_port()}/0")) as app:
        began = time.monotonic()
        with pytest.raises(BrokerUnavailableError):
            BatchPublisher(app).publish([_batch(0)])
        assert time.monotonic() - began < 2  # the receiver's callers wait for it
