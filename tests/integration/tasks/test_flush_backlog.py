"""After an outage PostgreSQL gets events only together with progress that contains them, however many users wait."""

from collections import Counter
from threading import Lock

import pytest

from models.database.flush.items import Flush, ProgressRow
from models.errors import DatabaseUnavailableError, HistoryChangedError
from models.state.flush_reads import ReadTrace
from tests.support.flush import differences
from tests.support.stack import SHARDS, Stack

USERS, BATCH_SIZE = 120, 5


class OneWrite:
    """A writer whose PostgreSQL goes away again after one transaction."""

    def __init__(self, writer):
        self._writer, self._left, self._lock = writer, 1, Lock()

    def begin(self, flush):
        with self._lock:
            if not self._left:
                raise DatabaseUnavailableError("gone again")
            self._left -= 1
        return self._writer.begin(flush)


@pytest.fixture
def backlog(redis, engine):
    """A stack whose dirty users of each shard are many more than a transaction takes."""
    return Stack(redis, engine, batch_size=BATCH_SIZE)


def flush_once_and_wipe(stack):
    object.__setattr__(stack.flusher, "writer", OneWrite(stack.writer))
    with pytest.raises(DatabaseUnavailableError):
        stack.flusher.flush()
    object.__setattr__(stack.flusher, "writer", stack.writer)
    stack.redis.flushall()


def events_of_users(stack):
    with stack.engine.connect() as connection:
        return Counter(user for (user,) in connection.exec_driver_sql("SELECT user_id FROM events"))


def progress_of(records):
    return Flush([ProgressRow(record.tenant_id, record.user_id, row) for record in records for row in record.rows])


def test_what_one_transaction_of_a_backlog_wrote_is_whole_though_redis_is_wiped_then(backlog):
    events = [backlog.event("login", f"u{n}") for n in range(USERS)]
    for at in range(0, USERS, 8):
        backlog.post(*events[at : at + 8])
    flush_once_and_wipe(backlog)
    assert 0 < backlog.count("events") < USERS
    assert differences(backlog) == []
    backlog.post(*events)
    backlog.flusher.flush()
    assert all(backlog.rows(f"u{n}")[("logins", "")] == (1, False) for n in range(USERS))
    assert differences(backlog) == []


def test_no_event_is_written_without_its_progress_where_users_come_again_and_again(backlog):
    for turn in range(4):
        for at in range(0, USERS, 8):
            backlog.post(*(backlog.event("login", f"u{(n * 7 + turn) % USERS}") for n in range(at, at + 8)))
    flush_once_and_wipe(backlog)
    known = events_of_users(backlog)
    assert known
    assert all(backlog.rows(user)[("logins", "")][0] >= count for user, count in known.items())


def test_a_batch_of_many_users_is_written_as_a_whole(backlog):
    backlog.post(*(backlog.event("login", f"u{n}") for n in range(USERS)))
    flush_once_and_wipe(backlog)
    assert backlog.count("events") > BATCH_SIZE
    assert differences(backlog) == []


def test_a_backlog_is_drained_with_users_whose_records_are_clean_or_have_no_events(backlog):
    for at in range(0, USERS, 8):
        backlog.post(*(backlog.event("login", f"u{n}") for n in range(at, at + 8)))
    for shard in range(SHARDS):  # as a flush leaves it that was cut off before it acknowledged the log
        members = backlog.records.dirty_members(shard, 2 * BATCH_SIZE)
        read = backlog.records.read_dirty(shard, members, ReadTrace(shard), oldest={})
        backlog.writer.write(progress_of(read))
        backlog.records.acknowledge(shard, read, read_us=backlog.clock(), token="")
    backlog.flusher.flush()
    assert sum(backlog.records.dirty_counts(SHARDS)) + sum(backlog.shard_log.lengths(SHARDS)) == 0
    assert backlog.count("events") == USERS
    assert differences(backlog) == []


@pytest.mark.parametrize("step", ["dirty_among", "read_dirty"])
def test_an_event_whose_progress_was_wiped_while_the_flush_read_is_not_written_without_it(stack, monkeypatch, step):
    event = stack.event("login")
    stack.post(event)
    read, wipes = getattr(stack.records, step), [stack.redis.flushall]

    def wiped(*args, **options):
        if wipes:
            wipes.pop()()
        return read(*args, **options)

    monkeypatch.setattr(stack.records, step, wiped)
    with pytest.raises(HistoryChangedError):
        stack.flusher.flush()
    assert stack.count("events") == 0
    stack.post(event)
    stack.flusher.flush()
    assert stack.rows()[("logins", "")] == (1, False)
    assert differences(stack) == []
