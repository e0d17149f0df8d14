"""Redis is a cache: records come back from PostgreSQL before their next event, whatever happened to Redis (P7)."""

from datetime import timedelta

import msgpack

from config.shards import shard_for
from models.database.connection import connect_database
from models.database.progress import ProgressReader
from models.rules.goals import Rulebook
from models.state.keys import member, record_key
from models.state.progress.apply_request import field_of, make_request
from tests.support.stack import NOON, SHARDS, WINDOW, goal


def test_progress_goes_on_after_redis_is_wiped(stack, redis):
    stack.post(stack.event("login"), stack.event("workout", value=20), stack.event("statistic:level", value=4))
    stack.flusher.flush()
    redis.flushall()
    stack.clock.advance(seconds=5)
    stack.post(stack.event("login"), stack.event("workout", value=20), stack.event("statistic:level", value=5))
    stack.flusher.flush()
    assert stack.rows() == {
        ("daily-login", "2026-11-21"): (1, True),
        ("logins", ""): (2, False),
        ("minutes", ""): (40, False),
        ("level", ""): (5, False),
    }


def test_a_duplicate_is_known_after_redis_is_wiped(stack, redis):
    stack.post(stack.event("login", event_id="e1", at=NOON - timedelta(days=6)))
    stack.flusher.flush()
    redis.flushall()
    stack.post(stack.event("login", event_id="e1"))
    assert stack.progress()[("logins", "")] == (1, False)


def test_cold_users_of_a_batch_are_loaded_by_one_query(stack, redis):
    stack.post(*(stack.event("login", f"u{n}") for n in range(40)))
    stack.flusher.flush()
    redis.flushall()
    asked = []
    load = stack.reader.snapshots

    def count(users, **clock):
        asked.append(len(users))
        return load(users, **clock)

    object.__setattr__(
        stack.evaluator, "reader", stack.retries.wrap(type("Counting", (), {"snapshots": staticmethod(count)}))
    )
    same_shard = [n for n in range(40) if shard_for("t1", f"u{n}", SHARDS) == 0]
    stack.post(*(stack.event("login", f"u{n}") for n in same_shard))
    assert asked == [len(same_shard)]


def test_a_slow_loader_cannot_put_back_an_older_state(stack):
    shard = shard_for("t1", "u1", SHARDS)
    event = stack.event("login")
    batch = stack.accept(event)[0]
    request = make_request(stack.matcher(), [event], batch.packed)
    cold = stack.records.apply(shard, [batch.batch_id], request, now_us=stack.clock()).cold
    stale = stack.reader.snapshots([("t1", "u1")], now_us=stack.clock())
    stack.apply(batch)
    stack.flusher.flush()
    assert stack.records.load(shard, [(cold[0].token, stale[0])], now_us=stack.clock()) == 0
    stack.redis.delete(*stack.redis.keys("*:u:*"))
    assert stack.records.load(shard, [(cold[0].token, stale[0])], now_us=stack.clock()) == 0
    stack.post(stack.event("login"))
    assert stack.progress()[("logins", "")] == (2, False)


def test_a_batch_stays_in_the_journal_while_a_user_is_cold(stack):
    shard = shard_for("t1", "u1", SHARDS)
    event = stack.event("login")
    batch = stack.accept(event)[0]
    reply = stack.records.apply(
        shard, [batch.batch_id], make_request(stack.matcher(), [event], batch.packed), now_us=stack.clock()
    )
    assert (reply.events, len(reply.cold)) == (0, 1)
    assert stack.journal.states(SHARDS)[shard].batches == 1
    assert stack.records.read(shard, "t1", "u1") is None


def test_versions_go_on_above_those_of_postgresql_when_a_user_moves_to_another_shard(stack, redis):
    stack.post(stack.event("login"))
    stack.flusher.flush()
    with stack.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE user_goal_progress SET stamp = stamp + 60000000000")
    redis.flushall()
    stack.post(stack.event("login"))
    stack.flusher.flush()
    assert stack.rows()[("logins", "")] == (2, False)


def test_postgresql_away_leaves_warm_users_going_and_cold_users_waiting(stack):
    warm, cold = _two_users_of_a_shard()
    stack.post(stack.event("login", warm))
    away = ProgressReader(connect_database("postgresql://nobody:x@127.0.0.1:1/none"), window=WINDOW)
    object.__setattr__(stack.evaluator, "reader", stack.retries.wrap(away))
    batches = stack.accept(stack.event("login", warm), stack.event("login", cold))
    stack.apply(*batches)
    assert stack.progress(warm)[("logins", "")] == (2, False)
    assert stack.progress(cold) == {}
    object.__setattr__(stack.evaluator, "reader", stack.retries.wrap(stack.reader))
    stack.try_again()
    assert stack.progress(warm)[("logins", "")] == (2, False)
    assert stack.progress(cold)[("logins", "")] == (1, False)


def _two_users_of_a_shard():
    users = [f"u{n}" for n in range(50) if shard_for("t1", f"u{n}", SHARDS) == 1]
    return users[0], users[1]


def test_a_row_that_an_earlier_release_left_in_redis_goes_on(stack, redis):
    """Its fields end with the state; what came later must not leave a hole before it."""
    stack.rulebook = Rulebook((goal("a", "count", "login"), goal("all", "all", of=("a",))))
    stack.post(stack.event("something else"))
    shard = shard_for("t1", "u1", SHARDS)
    now = stack.clock()
    old = ["a", "", "c", "count", 1, 7, now, now, now, [1]]
    redis.hset(record_key(shard, member("t1", "u1")), field_of("a", ""), b"%016d" % 7 + msgpack.packb(old))
    stack.post(stack.event("login"))
    stack.post(stack.event("login"))
    assert stack.progress() == {("a", ""): (3, True), ("all", ""): (1, True)}


def test_no_query_of_ours_is_compiled(engine):
    """Many partitions make a plan look dear enough for it: loading a hundred users then took seconds."""
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW jit").scalar_one() == "off"
