"""A store that goes back in time is noticed before anything of it is trusted, and both are brought to one truth."""

from contextlib import suppress

import pytest
import structlog
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import lists, sampled_from, tuples

from config.shards import shard_for
from models.database.fleet.histories import read_histories
from models.errors import (
    DatabaseUnavailableError,
    HistoryChangedError,
    JournalFullError,
    StateUnavailableError,
)
from models.events import pack_batch
from models.fleet.histories import NO_FLUSH, DatabaseHistory, FlushMark, Standing, StateHistory, standing
from models.state.keys import FLUSH_LOCK, member, record_key, shard_keys
from models.state.progress.apply_request import make_request
from tests.conftest import empty_tables, examples
from tests.support.backups import DatabaseBackup, StateBackup
from tests.support.flush import differences
from tests.support.stack import SHARDS, Stack

pytestmark = pytest.mark.slow

SHARD = shard_for("t1", "u1", SHARDS)
CANARY_COUNTER = ("logins", "")


@pytest.fixture
def backup(engine):
    """Copies PostgreSQL as it is when called."""
    made = []

    def copy():
        made.append(DatabaseBackup(engine))
        return made[-1]

    yield copy
    for one in made:
        one.drop()


@pytest.fixture
def logged():
    """What was logged."""
    with structlog.testing.capture_logs() as entries:
        yield entries


def post(stack, *numbers, user="u1"):
    stack.post(*(stack.event("login", user, event_id=f"{user}-{number}") for number in numbers))


def flush(stack):
    return stack.flusher.flush()


def recover(stack):
    stack.watch.recover()


def seen(stack, user="u1"):
    """The number of events that the API, and that PostgreSQL counts, and that PostgreSQL has."""
    shown = stack.progress(user).get(CANARY_COUNTER, (0,))[0]
    rows = stack.rows(user).get(CANARY_COUNTER, (0,))[0]
    return shown, rows, stack.count("events")


def test_redis_that_comes_back_older_takes_up_what_postgresql_has(stack, logged):
    post(stack, *range(5))
    flush(stack)
    older = StateBackup(stack.redis)
    post(stack, *range(5, 10))
    flush(stack)
    older.restore()
    post(stack, *range(10, 29))
    flush(stack)
    assert seen(stack) == (29, 29, 29)
    post(stack, 7, 28)
    flush(stack)
    assert seen(stack) == (29, 29, 29)
    assert differences(stack) == []
    told = [entry for entry in logged if entry["event"] == "redis_went_back"]
    assert [(entry["shards"], entry["log_level"]) for entry in told] == [([SHARD], "error")]


def test_redis_that_comes_back_older_is_noticed_with_nothing_to_flush(stack):
    post(stack, 1)
    flush(stack)
    older = StateBackup(stack.redis)
    post(stack, 2)
    flush(stack)
    older.restore()
    flush(stack)
    assert stack.progress() == {}  # so the API asks PostgreSQL
    post(stack, 2, 3)
    flush(stack)
    assert seen(stack) == (3, 3, 3)


def test_an_event_that_neither_store_has_counts_when_it_is_sent_again(stack):
    post(stack, 1)
    flush(stack)
    older = StateBackup(stack.redis)
    post(stack, 2)
    older.restore()
    post(stack, 2)
    flush(stack)
    assert seen(stack) == (2, 2, 2)


def test_what_redis_took_after_it_came_back_and_before_that_was_noticed_counts_once(stack):
    post(stack, 1, 2)
    flush(stack)
    older = StateBackup(stack.redis)
    post(stack, 3, 4)
    flush(stack)
    older.restore()
    post(stack, 4, 5)  # on the record of the past, which does not know 4
    post(stack, 5, 6)
    assert seen(stack)[0] == 5
    flush(stack)
    assert seen(stack) == (6, 6, 6)


def test_ids_of_a_record_that_is_gone_are_not_trusted_either(stack):
    """What they say of events that no store has would keep these events out for ever."""
    post(stack, 1)
    flush(stack)
    copy = StateBackup(stack.redis)
    post(stack, 2)
    with_two = StateBackup(stack.redis)
    copy.restore()
    post(stack, 3)
    flush(stack)
    with_two.restore()
    stack.redis.delete(record_key(SHARD, member("t1", "u1")), shard_keys(SHARD).log)
    flush(stack)
    post(stack, 2)
    flush(stack)
    assert seen(stack) == (3, 3, 3)


def test_batches_that_redis_has_again_though_they_were_applied_do_not_count_again(stack):
    stack.accept(stack.event("login", event_id="u1-1"))
    older = StateBackup(stack.redis)
    stack.catch_up_work()
    flush(stack)
    older.restore()
    flush(stack)
    assert seen(stack) == (1, 1, 1)
    assert not stack.journal.states(SHARDS)[SHARD].batches


def test_redis_that_is_emptied_is_one_that_went_back(stack, logged):
    post(stack, 1, 2)
    flush(stack)
    stack.redis.flushall()
    post(stack, 2, 3)
    flush(stack)
    assert seen(stack) == (3, 3, 3)
    assert [entry["redis_flushes"] for entry in logged if entry["event"] == "redis_went_back"] == [[0]]


def test_rows_that_were_written_ahead_of_their_events_are_corrected(stack):
    post(stack, 1)
    flush(stack)
    reading = stack.records.dirty_among

    def with_a_late_event(*arguments):
        stack.records.dirty_among = reading
        post(stack, 3)
        return reading(*arguments)

    post(stack, 2)
    stack.records.dirty_among = with_a_late_event
    with pytest.raises(ConnectionResetError):
        _flush_once(stack)
    assert stack.rows()[CANARY_COUNTER][0] == 3
    assert stack.count("events") == 2
    stack.redis.flushall()
    flush(stack)
    assert stack.rows()[CANARY_COUNTER][0] == 2
    post(stack, 3)
    flush(stack)
    assert seen(stack) == (3, 3, 3)
    assert differences(stack) == []


def _flush_once(stack):
    """A flush that ends after its first transaction."""
    acknowledge = stack.shard_log.acknowledge

    def cut_off(*_arguments, **_options):
        stack.shard_log.acknowledge = acknowledge
        raise ConnectionResetError

    stack.shard_log.acknowledge = cut_off
    stack.flusher.flush()


def test_a_flush_whose_commit_got_no_answer_is_in_step(stack, logged, monkeypatch):
    post(stack, 1)
    flush(stack)
    post(stack, 2)
    with monkeypatch.context() as cut:
        cut.setattr(type(stack.histories), "acknowledge", _cut_off)
        with pytest.raises(ConnectionResetError):
            flush(stack)
    assert stack.rows()[CANARY_COUNTER] == (2, False)
    StateBackup(stack.redis).restore()  # it knows the flush as one that may have been committed, and holds all of it
    post(stack, 3)
    flush(stack)
    assert seen(stack) == (3, 3, 3)
    assert [entry for entry in logged if entry["event"] == "redis_went_back"] == []


def _cut_off(*_arguments, **_options):
    raise ConnectionResetError


def test_redis_that_goes_back_to_before_a_flush_that_got_no_answer_is_behind(stack, monkeypatch):
    post(stack, 1)
    before = StateBackup(stack.redis)
    with monkeypatch.context() as cut:
        cut.setattr(type(stack.histories), "acknowledge", _cut_off)
        with pytest.raises(ConnectionResetError):
            flush(stack)
    before.restore()
    assert [difference.standing for difference in stack.watch.compare().differences] == [Standing.STATE_BEHIND]
    flush(stack)
    assert seen(stack) == (1, 1, 1)


@pytest.mark.parametrize("step", ["dirty_among", "read_dirty"])
def test_a_flush_writes_nothing_that_it_read_of_a_redis_that_is_gone(stack, monkeypatch, step):
    post(stack, 1)
    flush(stack)
    older = StateBackup(stack.redis)
    post(stack, 2)
    read = getattr(stack.records, step)

    def gone(*arguments, **options):
        monkeypatch.undo()
        older.restore()
        return read(*arguments, **options)

    monkeypatch.setattr(stack.records, step, gone)
    with pytest.raises(HistoryChangedError):
        flush(stack)
    flush(stack)
    assert seen(stack) == (1, 1, 1)


def test_a_flush_takes_nothing_off_a_redis_that_went_back_after_its_commit(stack, monkeypatch):
    post(stack, 1)
    flush(stack)
    post(stack, 2)
    older = StateBackup(stack.redis)
    acknowledge = stack.histories.acknowledge

    def gone(*arguments):
        monkeypatch.undo()
        older.restore()
        return acknowledge(*arguments)

    monkeypatch.setattr(type(stack.histories), "acknowledge", lambda _histories, *arguments: gone(*arguments))
    flush(stack)
    assert sum(stack.shard_log.lengths(SHARDS)) == sum(stack.records.dirty_counts(SHARDS)) == 1
    flush(stack)
    assert seen(stack) == (2, 2, 2)
    assert sum(stack.shard_log.lengths(SHARDS)) == sum(stack.records.dirty_counts(SHARDS)) == 0


@pytest.mark.parametrize("point", ["close", "return_entries", "drop_dirty", "versions", "open"])
def test_a_reset_that_is_cut_off_is_done_by_the_next_flush(stack, monkeypatch, point):
    post(stack, 1)
    flush(stack)
    older = StateBackup(stack.redis)
    post(stack, 2)
    flush(stack)
    older.restore()
    post(stack, 3)
    with monkeypatch.context() as cut:
        cut.setattr(type(stack.histories), point, _cut_off)
        with pytest.raises(ConnectionResetError):
            flush(stack)
    if point != "close":
        with pytest.raises(StateUnavailableError, match="SHARDCLOSED"):
            stack.records.apply(SHARD, [], _plan(stack), now_us=stack.clock())
        assert stack.progress() == {}  # so that the API does not show what is void
    flush(stack)
    assert seen(stack) == (3, 3, 3)
    assert stack.redis.hget(shard_keys(SHARD).history, "closed") is None


def _plan(stack):
    events = [stack.event("login", event_id="u1-9")]
    return make_request(stack.matcher(), events, pack_batch(events))


def test_two_flushes_at_once_are_in_step(stack, logged, monkeypatch):
    post(stack, 1)
    flush(stack)
    post(stack, 2)
    read = stack.records.read_dirty

    def read_and_wait(*arguments, **options):
        found = read(*arguments, **options)
        monkeypatch.undo()
        stack.redis.delete(FLUSH_LOCK)  # as if it had outlasted its lock
        Stack(stack.redis, stack.engine).flusher.flush()
        return found

    monkeypatch.setattr(stack.records, "read_dirty", read_and_wait)
    flush(stack)
    flush(stack)
    assert seen(stack) == (2, 2, 2)
    assert [entry for entry in logged if entry["event"] == "redis_went_back"] == []


def test_postgresql_that_comes_back_older_stops_the_flush_until_an_operator_recovers(stack, backup, logged):
    post(stack, 0, 1)
    flush(stack)
    older = backup()
    post(stack, 2, 3, 4)
    flush(stack)
    older.restore()
    for _ in range(3):
        assert flush(stack).stopped
    told = [entry for entry in logged if entry["event"] == "postgresql_went_back"]
    assert [(entry["shards"], entry["events_lost_at_most"]) for entry in told] == [([SHARD], 3)]
    with pytest.raises(JournalFullError, match="questline recover"):
        stack.accept(stack.event("login"))
    assert stack.count("events") == 2
    recover(stack)
    for number in range(6):
        post(stack, number)
    flush(stack)
    assert seen(stack) == (6, 6, 6)
    assert differences(stack) == []


def test_what_redis_still_holds_is_kept_where_postgresql_comes_back_older(stack, backup):
    post(stack, 1)
    flush(stack)
    older = backup()
    post(stack, 2)
    flush(stack)
    post(stack, 3)
    older.restore()
    recover(stack)
    flush(stack)
    assert seen(stack) == (2, 2, 2)
    post(stack, 1, 2, 3)
    flush(stack)
    assert seen(stack) == (3, 3, 3)


def test_a_newer_backup_in_place_of_an_old_one_lets_the_flush_go_on(stack, backup):
    post(stack, 1)
    flush(stack)
    with stack.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE shard_histories SET flush_number = 0, flush_token = 'older'")
    assert flush(stack).stopped
    with stack.engine.begin() as connection:
        token = stack.redis.hget(shard_keys(SHARD).history, "token").decode()
        connection.exec_driver_sql("UPDATE shard_histories SET flush_number = 1, flush_token = %s", (token,))
    post_later = stack.event("login", event_id="u1-2")
    assert not flush(stack).stopped
    stack.post(post_later)
    flush(stack)
    assert seen(stack) == (2, 2, 2)


def test_what_was_loaded_of_an_old_backup_is_void_once_a_newer_one_is_in_its_place(stack, backup):
    post(stack, 1, 2)
    flush(stack)
    newer = backup()
    with stack.engine.begin() as connection:
        connection.exec_driver_sql("TRUNCATE shard_histories, user_goal_progress, events")
    forgotten = stack.redis.keys("*:u:*") + stack.redis.keys("*:seen:*")
    stack.redis.delete(*forgotten)
    post(stack, 3)  # which loads the user from the old one
    assert stack.progress()[CANARY_COUNTER][0] == 1
    assert flush(stack).stopped
    newer.restore()
    assert not flush(stack).stopped
    assert seen(stack) == (3, 3, 3)
    post(stack, 1, 2, 3)
    flush(stack)
    assert seen(stack) == (3, 3, 3)


def test_postgresql_without_any_history_is_behind_a_redis_that_has_one(stack):
    post(stack, 1)
    flush(stack)
    with stack.engine.begin() as connection:
        connection.exec_driver_sql("TRUNCATE shard_histories, user_goal_progress, events, unlocks, evaluations")
    assert flush(stack).stopped
    recover(stack)
    post(stack, 1, 2)
    flush(stack)
    assert seen(stack) == (2, 2, 2)


def test_an_installation_that_was_upgraded_is_in_step(stack, logged):
    """Neither store has a history: records are of the first epoch."""
    post(stack, 1)
    flush(stack)
    stack.redis.delete(shard_keys(SHARD).history)
    with stack.engine.begin() as connection:
        connection.exec_driver_sql("TRUNCATE shard_histories")
    post(stack, 1, 2)
    flush(stack)
    assert seen(stack) == (2, 2, 2)
    known = read_histories(stack.engine, [SHARD])[SHARD]
    assert known.flushed.number == 1
    assert known.log_version > 0  # else a later reset would look at every row


def test_recovering_what_is_in_step_changes_nothing(stack):
    post(stack, 1)
    flush(stack)
    before = stack.histories.read(range(SHARDS))
    recover(stack)
    assert stack.histories.read(range(SHARDS)) == before


def test_partitions_that_a_restored_postgresql_lacks_are_made_anew(stack):
    post(stack, 1)
    flush(stack)
    with stack.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE events_20261121")
        connection.exec_driver_sql("TRUNCATE shard_histories, user_goal_progress")
    recover(stack)
    post(stack, 1, 2)
    with pytest.raises(DatabaseUnavailableError):
        flush(stack)
    flush(stack)
    assert seen(stack) == (2, 2, 2)
    assert stack.count("dead_letters") == 0


def test_a_load_that_began_before_a_reset_is_void(stack):
    post(stack, 1)
    flush(stack)
    stack.redis.delete(record_key(SHARD, member("t1", "u1")))
    [cold] = stack.records.apply(SHARD, [], _plan(stack), now_us=stack.clock()).cold
    [stale] = stack.reader.snapshots([("t1", "u1")], now_us=stack.clock())
    stack.resetter.reset([SHARD], set(Standing))
    assert stack.records.load(SHARD, [(cold.token, stale)], now_us=stack.clock()) == 0


def test_records_of_a_history_that_ended_get_a_lifetime(stack):
    post(stack, 1)
    name = record_key(SHARD, member("t1", "u1"))
    assert stack.redis.ttl(name) == -1
    stack.resetter._resetter.reset([SHARD], set(Standing))
    assert stack.redis.ttl(name) > 0
    assert sum(stack.records.dirty_counts(SHARDS)) == 0


def test_which_store_is_behind():
    first, second = FlushMark(1, "a"), FlushMark(2, "b")
    for database, state, expected in (
        (NO_FLUSH, StateHistory(), Standing.IN_STEP),
        (NO_FLUSH, StateHistory(under_way=first), Standing.IN_STEP),
        (first, StateHistory(under_way=first), Standing.IN_STEP),
        (first, StateHistory(flushed=first, under_way=second), Standing.IN_STEP),
        (first, StateHistory(), Standing.STATE_BEHIND),
        (second, StateHistory(flushed=first), Standing.STATE_BEHIND),
        (second, StateHistory(flushed=first, under_way=FlushMark(2, "c")), Standing.STATE_BEHIND),
        (NO_FLUSH, StateHistory(flushed=first), Standing.DATABASE_BEHIND),
        (first, StateHistory(flushed=second), Standing.DATABASE_BEHIND),
        (first, StateHistory(flushed=FlushMark(1, "c")), Standing.DATABASE_BEHIND),
    ):
        assert standing(DatabaseHistory(database), state) is expected
    assert standing(DatabaseHistory(first, rules=2), StateHistory(flushed=first, fence=1)) is Standing.STATE_BEHIND
    assert standing(DatabaseHistory(first, rules=2), StateHistory(flushed=first, fence=3)) is Standing.IN_STEP


class Walk:
    """Events, flushes and stores that go back, in any order; what is sent is known by its number."""

    def __init__(self, stack, backup):
        self.stack, self.backup = stack, backup
        self.sent = 0
        self.state, self.database = StateBackup(stack.redis), backup()

    def send(self, user):
        with suppress(JournalFullError):  # while PostgreSQL is behind
            post(self.stack, self.sent, user=user)
        self.sent += 1

    def send_again(self, user):
        with suppress(JournalFullError):
            post(self.stack, *range(max(0, self.sent - 3), self.sent), user=user)

    def flush(self, _user):
        if self.stack.flusher.flush().stopped:
            recover(self.stack)
            self.stack.flusher.flush()

    def flush_without_answer(self, _user):
        acknowledge = type(self.stack.histories).acknowledge
        type(self.stack.histories).acknowledge = _cut_off
        try:
            self.stack.flusher.flush()
        except ConnectionResetError:
            pass
        finally:
            type(self.stack.histories).acknowledge = acknowledge

    def flush_ahead(self, user):
        """An event comes between the look at the log and that at the records."""
        reading = self.stack.records.dirty_among

        def late(*arguments):
            self.stack.records.dirty_among = reading
            self.send(user)
            return reading(*arguments)

        self.stack.records.dirty_among = late
        self.flush_without_answer(user)
        self.stack.records.dirty_among = reading

    def keep_state(self, _user):
        self.state = StateBackup(self.stack.redis)

    def keep_database(self, _user):
        self.database = self.backup()

    def state_goes_back(self, _user):
        self.state.restore()

    def state_is_lost(self, _user):
        self.stack.redis.flushall()

    def database_goes_back(self, _user):
        self.database.restore()


STEPS = [name for name in vars(Walk) if not name.startswith("_")]


# Without shrinking: it would take minutes, and 25 steps can be read.
@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(steps=lists(tuples(sampled_from(STEPS), sampled_from(["u1", "u2", "u3"])), max_size=25))
def test_whatever_goes_back_when_stored_events_count_once_and_others_can_be_sent_again(redis, engine, backup, steps):
    redis.flushall()
    empty_tables(engine)
    stack = Stack(redis, engine)
    walk = Walk(stack, backup)
    for name, user in steps:
        getattr(walk, name)(user)
    walk.flush("")
    assert differences(stack) == [], steps
    users = ["u1", "u2", "u3"]
    for user in users:
        post(stack, *range(walk.sent + 1), user=user)
    walk.flush("")
    assert differences(stack) == [], steps
    assert [stack.rows(user)[CANARY_COUNTER][0] for user in users] == [walk.sent + 1] * 3, steps
    assert (stack.count("events"), stack.count("dead_letters")) == (3 * (walk.sent + 1), 0), steps
