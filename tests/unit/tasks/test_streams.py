"""How a worker's reads of streams are planned, and the message that one of them becomes."""

import msgpack
import pytest
from redis import Redis

from models.events import pack_batch
from models.state.keys import stream_keys
from models.state.queue.batches import TakenBatch
from tasks.broker.streams import MESSAGE_S, MOST_ENTRIES, STREAM_BYTES, StreamReader, Window, Work
from tasks.broker.transport import message_of

SHARDS = range(4)
LIGHT = {stream_keys(shard)[0] for shard in SHARDS}
HEAVY = {stream for shard in SHARDS for stream in stream_keys(shard)[1:4]}


def work(entries, *, size=100, stream=0):
    return Work({0: [TakenBatch(f"{stream}:{number}-0", bytes(size)) for number in range(entries)]})


class Connection:
    """A connection of the state Redis: what is sent, and what it answers."""

    def __init__(self, *replies):
        self.replies, self.sent = list(replies), []

    def send_command(self, *words):
        self.sent.append(words)

    def read_response(self):
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def read(self):
        """The streams, the number of entries of each, and whether the last call waits."""
        (*options,) = self.sent[-1]
        streams = options[options.index("STREAMS") + 1 :]
        return streams[: len(streams) // 2], options[options.index("COUNT") + 1], "BLOCK" in options


@pytest.fixture
def reader():
    redis = Redis(port=1)
    return StreamReader(journal=None, redis=redis)  # type: ignore[arg-type]  # nothing is claimed here


def test_a_window_takes_fewer_streams_after_a_long_message_and_more_after_a_short_one():
    window = Window(heavy=32)
    window.note(work(64), 2 * MESSAGE_S)
    assert window.heavy == 16
    for _ in range(20):
        window.note(work(64), 10.0)
    assert window.heavy == 1
    for _ in range(20):
        window.note(work(64), MESSAGE_S / 10)
    assert window.streams(16) == MOST_ENTRIES // 16


def test_a_window_asks_for_many_small_entries_of_a_stream_and_for_few_large_ones():
    window = Window()
    window.note(work(10, size=100), MESSAGE_S)
    for _ in range(5):
        window.note(work(10, size=100), MESSAGE_S)
    assert window.count() == STREAM_BYTES // 100
    window.note(work(1, size=60_000, stream=3), MESSAGE_S)
    assert window.count() == 1
    for _ in range(10):  # those who sent them are gone
        window.note(work(10, size=100), MESSAGE_S)
    assert window.count() == STREAM_BYTES // 100


def test_a_read_asks_all_streams_for_as_much_each_and_those_of_little_come_first(reader):
    connection = Connection([])
    reader.start(connection, SHARDS)
    streams, count, waits = connection.read()
    assert (count, waits) == (STREAM_BYTES // 512, True)
    assert set(streams[:4]) == LIGHT
    assert set(streams[4:]) == HEAVY


def test_a_read_that_would_bring_too_much_takes_some_of_the_heavy_streams_and_all_of_them_in_turns(reader):
    reader.window.heavy = 4
    seen = set()
    for _ in range(12):
        connection = Connection([[stream_keys(0)[0].encode(), [(b"1-0", [b"b", b"x"])]]])
        connection.replies = [[(stream_keys(0)[0].encode(), [(b"1-0", [b"b", b"x"])])]]
        reader.start(connection, SHARDS)
        streams, count, waits = connection.read()
        assert count >= 1
        assert not waits
        assert set(streams[:4]) == LIGHT
        assert len(streams) == 8
        seen |= set(streams[4:])
        assert reader.finish(connection) is not None
    assert seen == HEAVY


def test_after_a_read_of_some_streams_that_found_nothing_all_are_looked_at_and_waited_for(reader):
    reader.window.heavy = 4
    connection = Connection(None, None)
    reader.start(connection, SHARDS)
    assert not connection.read()[2]
    assert reader.finish(connection) is None
    reader.start(connection, SHARDS)
    streams, _, waits = connection.read()
    assert (len(streams), waits) == (16, True)


@pytest.mark.parametrize("as_map", [False, True])
def test_what_is_read_of_several_streams_is_grouped_by_shard(reader, as_map):
    found = [
        (stream_keys(1)[0].encode(), [(b"5-0", [b"b", b"one"])]),
        (stream_keys(2)[0].encode(), [(b"6-0", [b"b", b"two"]), (b"6-1", [b"b", b"three"])]),
        (stream_keys(1)[3].encode(), [(b"4-0", [b"b", b"four"])]),
    ]
    reader.start(Connection(), SHARDS)
    read = reader.finish(Connection(dict(found) if as_map else found))
    assert read.shards == {
        1: [TakenBatch("0:5-0", b"one"), TakenBatch("3:4-0", b"four")],
        2: [TakenBatch("0:6-0", b"two"), TakenBatch("0:6-1", b"three")],
    }


def test_a_message_is_a_task_of_celery_with_the_bytes_as_they_are():
    packed = pack_batch([])
    message = message_of(Work({3: [TakenBatch("0:1-0", packed, 2)]}), "events.3", "tag")
    assert (message["headers"]["task"], message["headers"]["id"]) == ("questline.apply_events", "tag")
    assert message["properties"]["delivery_info"] == {"exchange": "", "routing_key": "events.3"}
    arguments, keywords, _ = msgpack.unpackb(message["body"])
    assert (arguments, keywords) == ([[[3, [["0:1-0", packed, 2]]]]], {})
    assert message["headers"]["argsrepr"] == "(1 batches of 1 shards)"
