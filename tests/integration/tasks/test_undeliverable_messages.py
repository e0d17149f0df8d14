"""What is no message for a worker: the worker survives, the next task runs, and the bytes are kept.

The cases are those that end, loop or silence a worker of stock Celery, and some more.
"""

import base64
import json
import pickle

import msgpack
import pytest

from config.shards import MAINTENANCE_QUEUE
from models.state.connection import connect_state
from models.state.keys import METRICS, UNDELIVERABLE
from models.state.queue.undeliverable import (
    MAX_KEPT,
    UndeliverableMessage,
    UndeliverableMessages,
    pack_undeliverable,
    unpack_undeliverable,
)
from tasks.broker.envelopes import BadEnvelopeError, check_envelope
from tasks.dead_letters.undeliverable import UndeliverableDrain
from tasks.definitions import FLUSH
from tests.cluster.installation import Installation, environment_of
from tests.cluster.nodes import LocalRedis, LocalWorker
from tests.support.servers import wait_until
from tests.support.stack import SHARDS
from worker.celery_app import make_app


@pytest.fixture(scope="module")
def worker(database_url, tmp_path_factory):
    """A maintenance worker, on a Redis of its own: the queues of events are no lists."""
    folder = tmp_path_factory.mktemp("undeliverable")
    redis = LocalRedis(folder / "redis")
    redis.ready()
    started = LocalWorker(
        ("worker", "--maintenance"),
        folder / "worker.log",
        environment=environment_of(redis.url, database_url, folder / "data", JOURNAL_RETRY_AFTER="5m"),
    )
    started.ready()
    started.redis_url = redis.url
    yield started
    started.teardown()
    redis.teardown()


@pytest.fixture
def installation(worker, database_url):
    opened = Installation(environment_of(worker.redis_url, database_url))
    opened.redis.delete(UNDELIVERABLE)
    yield opened
    opened.close()


def sound(installation):
    """The envelope of a task as we publish it, from a queue that nobody takes from."""
    elsewhere = f"{installation.settings.broker.rpartition('/')[0]}/1"
    with make_app(installation.settings.model_copy(update={"broker_url": elsewhere})) as app:
        app.send_task(FLUSH, queue=MAINTENANCE_QUEUE, ignore_result=True)
    with connect_state(elsewhere) as redis:
        return json.loads(redis.rpop(MAINTENANCE_QUEUE))


def packed(value):
    return base64.b64encode(msgpack.packb(value)).decode()


def without(*path):
    def change(envelope):
        *parents, last = path
        for name in parents:
            envelope = envelope[name]
        del envelope[last]

    return change


def with_(value, *path):
    def change(envelope):
        *parents, last = path
        for name in parents:
            envelope = envelope[name]
        envelope[last] = value

    return change


def pickled(envelope):
    body = pickle.dumps([[0, "b", b""], {}, {}])
    envelope |= {"body": base64.b64encode(body).decode(), "content-type": "application/x-python-serialize"}


def in_json(envelope):
    body = json.dumps([[0, "b", "x"], {}, {}]).encode()
    envelope |= {
        "body": base64.b64encode(body).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }


ITEMS = {
    "not JSON": b"{nothing",
    "not UTF-8": b"\xff\xfe\x00",
    "not an object": b"[1, 2]",
    "empty": b"",
    "nested too deeply": b"[" * 100_000,
    "of an unknown type": b'{"__type__": "nobody", "__value__": 1}',
}
ENVELOPES = {
    "body is not a list of three": with_(packed({"args": []}), "body"),
    "body is a list of two": with_(packed([[], {}]), "body"),
    "arguments are no list": with_(packed(["abc", {}, {}]), "body"),
    "keywords are no map": with_(packed([[], [], {}]), "body"),
    "body is not base64": with_("%%%", "body"),
    "body is no msgpack": with_(base64.b64encode(b"\xc1").decode(), "body"),
    "body is missing": without("body"),
    "body is null": with_(None, "body"),
    "unknown body_encoding": with_("rot13", "properties", "body_encoding"),
    "missing properties": without("properties"),
    "missing delivery_tag": without("properties", "delivery_tag"),
    "unhashable delivery_tag": with_([], "properties", "delivery_tag"),
    "missing delivery_info": without("properties", "delivery_info"),
    "delivery_info without routing_key": without("properties", "delivery_info", "routing_key"),
    "missing headers": without("headers"),
    "headers is null": with_(None, "headers"),
    "missing id": without("headers", "id"),
    "missing task": without("headers", "task"),
    "unhashable task": with_(["a"], "headers", "task"),
    "bad timelimit": with_("soon", "headers", "timelimit"),
    "timelimit of texts": with_(["a", "b"], "headers", "timelimit"),
    "bad eta": with_("tomorrow", "headers", "eta"),
    "eta in a year": with_("2099-01-01T00:00:00+00:00", "headers", "eta"),
    "bad expires": with_({"at": 1}, "headers", "expires"),
    "wrong compression": with_("application/nothing", "headers", "compression"),
    "compressed": with_("application/x-gzip", "headers", "compression"),
    "unknown content type": with_("application/x-nothing", "content-type"),
    "pickle": pickled,
    "json": in_json,
    "plain data": with_("application/data", "content-type"),
    "task of half a character": with_("\ud800", "headers", "task"),
    "delivery_tag of half a character": with_("\ud800", "properties", "delivery_tag"),
    "routing_key of half a character": with_("events.\udfff", "properties", "delivery_info", "routing_key"),
    "half a character where nobody looks": with_({"\ud800": [1]}, "headers", "note"),
}
FOR_CELERY = {
    "unknown task": ("unknown_task", with_("questline.nothing", "headers", "task")),
    "headers of Celery that are no list": ("undecodable_message", with_(5, "headers", "stamped_headers")),
}


def next_task(worker, installation):
    """Send a task and wait until the worker has done it."""
    installation.app.send_task(FLUSH, queue=MAINTENANCE_QUEUE, ignore_result=True)
    redis = installation.redis
    wait_until(lambda: not redis.llen(MAINTENANCE_QUEUE) and not redis.hlen("unacked"), seconds=40, message=worker.logs)


def survives(worker, installation, item):
    """The worker that got this item takes the next task; what it kept aside."""
    installation.redis.lpush(MAINTENANCE_QUEUE, item)
    next_task(worker, installation)
    assert worker.status == "running"
    return [unpack_undeliverable(entry) for entry in installation.redis.lrange(UNDELIVERABLE, 0, -1)]


@pytest.mark.parametrize("case", ITEMS)
def test_an_item_that_is_no_envelope(worker, installation, case):
    [message] = survives(worker, installation, ITEMS[case])
    assert (message.reason, message.queue, message.raw) == (
        "undecodable_message",
        MAINTENANCE_QUEUE,
        ITEMS[case],
    )


@pytest.mark.parametrize("case", ENVELOPES)
def test_an_envelope_that_is_no_task(worker, installation, case):
    envelope = sound(installation)
    ENVELOPES[case](envelope)
    item = json.dumps(envelope, separators=(",", ":")).encode()
    [message] = survives(worker, installation, item)
    assert (message.reason, message.queue, message.raw) == (
        "undecodable_message",
        MAINTENANCE_QUEUE,
        item,
    )


@pytest.mark.parametrize("case", FOR_CELERY)
def test_a_task_that_celery_cannot_handle(worker, installation, case):
    reason, change = FOR_CELERY[case]
    envelope = sound(installation)
    change(envelope)
    [message] = survives(worker, installation, json.dumps(envelope))
    assert (message.reason, json.loads(message.raw)) == (reason, envelope)
    assert message.task == envelope["headers"]["task"]


def test_what_we_publish_is_sound(installation):
    check_envelope(MAINTENANCE_QUEUE, json.dumps(sound(installation)).encode())


def test_escapes_of_whole_characters_are_sound(installation):
    envelope = sound(installation)
    envelope["headers"]["origin"] = "gen1@bücher-😀"
    item = json.dumps(envelope).encode()
    assert b"\\ud83d\\ude00" in item
    check_envelope(MAINTENANCE_QUEUE, item)


def test_replies_to_remote_control_are_no_tasks(installation):
    envelope = sound(installation)
    del envelope["headers"]["task"]
    item = json.dumps(envelope).encode()
    check_envelope("5f1.reply.celery.pidbox", item)
    with pytest.raises(BadEnvelopeError):
        check_envelope(MAINTENANCE_QUEUE, item)


@pytest.fixture
def drain(stack):
    return UndeliverableDrain(stack.retries.wrap(UndeliverableMessages(stack.redis)), stack.dead_letter_writer, SHARDS)


def dead_letters(stack):
    with stack.engine.connect() as connection:
        return connection.exec_driver_sql("SELECT * FROM dead_letters ORDER BY id").all()


def test_undeliverable_messages_become_dead_letters_in_its_order(stack, drain):
    for number in range(3):
        drain.undeliverable.add(UndeliverableMessage("undecodable_message", "bad", b"%d\xff" % number, "events.2"))
    drain.undeliverable.add(
        UndeliverableMessage("task_failed", "boom\0", b"x", None, "questline.flush", "ValueError", "Traceback")
    )
    assert drain.drain() == 4
    found = dead_letters(stack)
    assert [bytes(dead_letter.raw) for dead_letter in found] == [b"0\xff", b"1\xff", b"2\xff", b"x"]
    assert {(dead_letter.kind, dead_letter.reason, dead_letter.shard) for dead_letter in found[:3]} == {
        ("message", "undecodable_message", 2)
    }
    assert (found[3].task, found[3].exception, found[3].traceback) == ("questline.flush", "ValueError", "Traceback")
    assert stack.redis.llen(UNDELIVERABLE) == 0
    stack.metrics.push()
    assert float(stack.redis.hget(METRICS, "questline_dead_letters_total{undecodable_message}")) == 3
    assert stack.redis.hget(METRICS, "challenge_event_handler_events_failed_total") is None  # no event among them


@pytest.mark.parametrize("entry", [["a", 1, 2], ["a", "b", "c"], [b"a", "b", b"c"], ["a", "b", b"c", 7], {"a": 1}, 5])
def test_an_entry_of_wrong_types_is_a_dead_letter_of_its_own_and_holds_up_nothing(stack, drain, entry):
    stack.redis.lpush(UNDELIVERABLE, msgpack.packb(entry))
    drain.undeliverable.add(UndeliverableMessage("undecodable_message", "bad", b"next"))
    assert drain.drain() == 2
    assert [bytes(dead_letter.raw) for dead_letter in dead_letters(stack)] == [msgpack.packb(entry), b"next"]
    assert {dead_letter.reason for dead_letter in dead_letters(stack)} == {"undecodable_message"}


@pytest.mark.parametrize(
    "queue", ["events.99999", f"events.{SHARDS}", f"events.{2**70}", "events." + 5000 * "9", "events.\u0663", "nobody"]
)
def test_a_queue_of_no_shard_holds_up_nothing(stack, drain, queue):
    drain.undeliverable.add(UndeliverableMessage("unknown_task", "bad", b"x", queue))
    drain.undeliverable.add(UndeliverableMessage("unknown_task", "bad", b"y", f"events.{SHARDS - 1}"))
    assert drain.drain() == 2
    assert [dead_letter.shard for dead_letter in dead_letters(stack)][1:] == [SHARDS - 1]
    assert dead_letters(stack)[0].shard in {None, 3}


def test_a_dead_letter_that_postgresql_refuses_holds_up_no_other(stack, drain):
    with stack.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE dead_letters ADD CONSTRAINT ck_test_bad CHECK (task <> 'bad')")
    try:
        for task in ("good", "bad", "fine"):
            drain.undeliverable.add(UndeliverableMessage("unknown_task", task, task.encode(), "events.1", task))
        assert drain.drain() == 3
    finally:
        with stack.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE dead_letters DROP CONSTRAINT ck_test_bad")
    found = {bytes(dead_letter.raw): dead_letter for dead_letter in dead_letters(stack)}
    assert set(found) == {b"good", b"bad", b"fine"}
    assert found[b"bad"].task is None
    assert "ck_test_bad" in found[b"bad"].error


def test_no_text_keeps_an_undeliverable_message_from_being_kept(stack, drain):
    drain.undeliverable.add(
        UndeliverableMessage("unknown_task", "'\ud800'", b"x", "events.2", "\ud800", "KeyError", "File '\udcff'")
    )
    assert drain.drain() == 1
    [dead_letter] = dead_letters(stack)
    assert (dead_letter.error, dead_letter.task, dead_letter.traceback) == ("'\\ud800'", "\\ud800", "File '\\udcff'")


def test_undeliverable_messages_stay_while_postgresql_is_away_and_what_comes_meanwhile_too(stack, drain, monkeypatch):
    drain.undeliverable.add(UndeliverableMessage("undecodable_message", "bad", b"first"))

    def late(self, entries):
        self.add(UndeliverableMessage("undecodable_message", "bad", b"second"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(UndeliverableMessages, "remove", late)
        with pytest.raises(KeyboardInterrupt):  # between the commit and the removal
            drain.drain()
    assert stack.redis.llen(UNDELIVERABLE) == 2
    assert drain.drain() == 2
    assert [(bytes(dead_letter.raw), dead_letter.attempts) for dead_letter in dead_letters(stack)] == [
        (b"first", 2),
        (b"second", 1),
    ]


def test_undeliverable_messages_are_bounded_and_bytes_of_nobody_become_a_dead_letter_too(stack, drain):
    stack.redis.lpush(UNDELIVERABLE, *[b"x"] * MAX_KEPT)
    assert drain.undeliverable.add(UndeliverableMessage("undecodable_message", "bad", b"new")) == 1
    assert stack.redis.llen(UNDELIVERABLE) == MAX_KEPT
    stack.redis.ltrim(UNDELIVERABLE, 0, 1)
    assert drain.drain() == 2
    assert [bytes(dead_letter.raw) for dead_letter in dead_letters(stack)] == [b"x", b"new"]


def test_undeliverable_messages_are_bounded_by_their_bytes_too(stack, drain):
    entry = UndeliverableMessage("undecodable_message", "bad", b"x" * 1_000)
    size = len(pack_undeliverable(entry))
    kept = UndeliverableMessages(stack.redis, max_bytes=3 * size)
    assert [kept.add(entry._replace(raw=b"%04d" % n + entry.raw[4:])) for n in range(5)] == [0, 0, 0, 1, 1]
    assert [unpack_undeliverable(packed).raw[:4] for packed in kept.oldest(10)] == [b"0002", b"0003", b"0004"]
    assert drain.drain() == 3
    assert [kept.add(entry) for _ in range(4)] == [0, 0, 0, 1]
    assert kept.add(entry._replace(raw=b"x" * 10_000)) == 3
    assert len(kept.oldest(10)) == 1
    stack.redis.delete(UNDELIVERABLE)
    assert [kept.add(entry) for _ in range(4)] == [0, 0, 0, 1]


def test_a_broker_that_refuses_writes_for_a_while_ends_no_worker(worker, installation):
    refused = installation.redis.info("stats")["total_error_replies"]
    installation.redis.config_set("min-replicas-to-write", 9)
    wait_until(lambda: installation.redis.info("stats")["total_error_replies"] > refused + 2, message=worker.logs)
    installation.redis.config_set("min-replicas-to-write", 0)
    next_task(worker, installation)
    assert worker.status == "running"
