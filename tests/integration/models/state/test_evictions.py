"""Clean records go before Redis is full; whatever goes when, every event counts once."""

import threading
from collections import Counter
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.shards import shard_for
from models.state.checks.memory import MemoryGauge, NewUsers, StateMemory, read_memory
from models.state.connection import connect_state
from models.state.keys import member, record_key, shard_keys
from models.state.progress.evictions import Evictions
from tasks.flush.eviction import Evictor
from tasks.flush.flusher import FlushReport
from tests.conftest import empty_tables, examples
from tests.support.servers import wait_until
from tests.support.stack import NOON, SHARDS, Stack

pytestmark = pytest.mark.slow


def shard_of(tenant_id, user_id):
    return shard_for(tenant_id, user_id, SHARDS)


def key_of(user):
    return record_key(shard_of("t1", user), member("t1", user))


class Fixed(MemoryGauge):
    """A memory that reads as it is told."""

    def __init__(self, said):
        self._said = said

    def read(self):
        return self._said


@pytest.fixture
def evictions(redis):
    return Evictions(redis, SHARDS, sample=100)


def all_records(redis):
    return list(redis.scan_iter("*:u:*"))


def user_keys(redis, user="u1"):
    return [*redis.scan_iter(f"*:u:t1:{user}"), *redis.scan_iter(f"*:seen:t1:{user}:*")]


def test_a_clean_record_goes_with_its_ids_and_the_next_event_loads_both(stack, redis, evictions):
    stack.post(stack.event(event_id="first"), stack.event("workout", event_id="second", increment=5))
    stack.flusher.flush()
    assert evictions.evict() == 1
    assert user_keys(redis) == []
    stack.post(stack.event(event_id="first"), stack.event("workout", event_id="second", increment=5))
    stack.post(stack.event(event_id="third"))
    stack.flusher.flush()
    assert stack.rows()["logins", ""] == (2, False)
    assert stack.rows()["minutes", ""] == (5, False)
    assert stack.count("events") == 3


def test_what_postgresql_lacks_stays(stack, redis, evictions):
    stack.post(stack.event())
    assert evictions.evict() == 0
    assert stack.progress()["logins", ""] == (1, False)


def test_ids_of_events_that_moved_nothing_stay_until_postgresql_has_them(stack, evictions):
    """Such a user is never dirty: only the log knows that its events are not in PostgreSQL."""
    stack.post(stack.event("nobody.cares", event_id="first"))
    assert evictions.evict() == 0
    stack.flusher.flush()
    assert evictions.evict() == 1
    stack.post(stack.event("nobody.cares", event_id="first"))
    stack.flusher.flush()
    assert stack.count("events") == 1


def test_the_same_while_the_user_is_dirty_for_another_event(stack, redis, evictions):
    stack.post(stack.event(event_id="first"))
    stack.post(stack.event("nobody.cares", event_id="second"))
    keys = shard_keys(shard_of("t1", "u1"))
    (first, _), (second, _) = redis.xrange(keys.log)
    # As a flush leaves it that read the first entry alone.
    flushed = redis.zscore(keys.dirty, member("t1", "u1"))
    redis.zrem(keys.dirty, member("t1", "u1"))
    redis.hdel(key_of("u1"), "@dirty")
    redis.hset(key_of("u1"), "@flushed", f"{flushed:.0f}")
    redis.xdel(keys.log, first)
    assert evictions.evict() == 0
    redis.xdel(keys.log, second)
    assert evictions.evict() == 1


def test_a_record_that_is_being_loaded_stays(stack, redis, evictions):
    stack.post(stack.event())
    stack.flusher.flush()
    redis.hset(key_of("u1"), "@loaded", "?0000000000000001")
    assert evictions.evict() == 0


def test_a_record_that_changes_while_it_is_looked_at_stays(stack, redis, evictions):
    stack.post(stack.event())
    stack.flusher.flush()
    users = evictions.candidates([key_of("u1").encode()])
    redis.hincrby(key_of("u1"), "@seen", 1)
    assert evictions.evict_users(users) == 0


def test_those_used_last_stay(stack, redis, evictions):
    for user in range(40):
        stack.post(stack.event(user=f"u{user}"))
    stack.flusher.flush()
    wait_until(lambda: redis.object("idletime", key_of("u0")) >= 2)
    for user in range(20):
        stack.records.read(shard_of("t1", f"u{user}"), "t1", f"u{user}")
    while all(redis.exists(key_of(f"u{user}")) for user in range(20, 40)):
        evictions.evict()
    assert all(redis.exists(key_of(f"u{user}")) for user in range(20))


def test_records_go_when_memory_is_short_until_there_is_room(stack, redis, evictions):
    for user in range(200):
        stack.post(stack.event(user=f"u{user}"))
    stack.flusher.flush()

    class ByRecords(MemoryGauge):
        def __init__(self):
            pass

        def read(self):
            return StateMemory(60 + len(all_records(redis)) // 8, 100, 0)

    memory = ByRecords()
    evictor = Evictor(memory, evictions, stack.metrics, clock=lambda: 0.0)  # however busy the machine is
    assert evictor.relieve() >= 100
    assert memory.read().used <= 70
    assert evictor.relieve() == 0  # there is room


def test_without_a_limit_or_without_need_nothing_goes(stack, redis, evictions):
    stack.post(stack.event())
    stack.flusher.flush()
    assert Evictor(Fixed(StateMemory(10**12, 0, 10**12)), evictions, stack.metrics).relieve() == 0
    assert Evictor(Fixed(StateMemory(74, 100, 0)), evictions, stack.metrics).relieve() == 0
    assert user_keys(redis)


def test_evicting_ends_where_nothing_may_go(stack, evictions):
    stack.post(stack.event())
    assert Evictor(Fixed(StateMemory(99, 100, 0)), evictions, stack.metrics).relieve() == 0


def test_records_go_while_redis_takes_no_write(stack, redis, evictions):
    for user in range(40):
        stack.post(stack.event(user=f"u{user}"))
    stack.flusher.flush()
    evictions.evict()
    before = len(all_records(redis))
    redis.config_set("maxmemory", 1)
    try:
        assert evictions.evict() > 0
    finally:
        redis.config_set("maxmemory", 0)
    assert len(all_records(redis)) < before


def test_memory_is_read_with_what_waits_to_be_applied(stack, redis):
    redis.config_set("maxmemory", "100mb")
    try:
        empty = read_memory(redis, SHARDS)
        assert empty.limit == 100 * 1024 * 1024
        assert 0 < empty.part_used == empty.part_promised
        stack.accept(stack.event(payload=b"x" * 10_000))
        assert read_memory(redis, SHARDS).waiting > 10_000
    finally:
        redis.config_set("maxmemory", 0)


def test_who_may_not_ask_for_the_memory_goes_on_without_a_limit(redis, redis_url):
    redis.config_set("maxmemory", "100mb")
    redis.acl_setuser("few", enabled=True, nopass=True, keys=["*"], commands=["+@read", "-@dangerous", "+@connection"])
    try:
        with connect_state(redis_url.replace("://:", "://few:")) as client:
            assert read_memory(client, SHARDS) == StateMemory(0, 0, 0)
    finally:
        redis.config_set("maxmemory", 0)
        redis.acl_deluser("few")


def test_new_users_are_counted_by_tenant_over_an_hour(redis):
    users, hour = NewUsers(redis), 3_600_000_000
    users.add({"a": 10, "b": 1}, now_us=100 * hour)
    users.add({"a": 10}, now_us=100 * hour + hour // 2)
    assert users.lately(now_us=100 * hour + hour // 2) == {"a": 20, "b": 1}
    assert users.lately(now_us=101 * hour + hour // 2) == {"a": 10, "b": 0}
    assert users.lately(now_us=103 * hour) == {}


def test_only_those_whom_nobody_knew_are_new(stack, redis, evictions):
    new_users = NewUsers(redis)
    counting = Stack(redis, stack.engine)
    object.__setattr__(counting.evaluator, "new_users", new_users)
    counting.post(counting.event(user="u1"), counting.event(user="u2"))
    assert new_users.lately(now_us=counting.clock()) == {"t1": 2}
    counting.flusher.flush()
    assert evictions.evict_records([key.encode() for key in map(key_of, ("u1", "u2"))]) == 2
    counting.post(counting.event(user="u1"), counting.event(user="u3"))
    assert new_users.lately(now_us=counting.clock()) == {"t1": 3}


USERS = ("u1", "u2", "u3", "u4", "u5")
post = st.tuples(
    st.just("post"), st.lists(st.tuples(st.sampled_from(USERS), st.integers(0, 25)), min_size=1, max_size=6)
)
others = st.tuples(st.sampled_from(["pass", "flush", "evict", "day"]), st.none())


@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(st.one_of(post, post, others), min_size=3, max_size=24))
def test_every_event_counts_once_whenever_records_go(redis, engine, steps):
    """Against plain counting: events come again, flushes stop half-way, and whatever may go goes at any moment."""
    redis.flushall()
    empty_tables(engine)
    stack = Stack(redis, engine, batch_size=1)
    evictions, sent = Evictions(redis, SHARDS, sample=20), set()

    def post_all(events):
        for user, number in events:  # a quarter of them moves nothing
            kind = "nobody.cares" if number % 4 == 3 else "login"
            stack.post(stack.event(kind, user, event_id=f"e{number}", at=NOON))
            sent.add((user, number))

    verbs = {
        "post": post_all,
        "pass": lambda _: stack.flusher._pass(FlushReport()),
        "flush": lambda _: stack.flusher.flush(),
        "evict": lambda _: evictions.evict_records(all_records(redis)),
        "day": lambda _: stack.clock.advance(hours=23),
    }
    for verb, argument in steps:
        verbs[verb](argument)
    stack.flusher.flush()
    counted = Counter(user for user, number in sent if number % 4 != 3)
    assert {user: stack.rows(user).get(("logins", ""), (0,))[0] for user in counted} == dict(counted)
    assert stack.count("events") == len(sent)
    assert stack.count("dead_letters") == 0


def test_every_event_counts_once_while_records_go_all_the_time(redis, engine):
    """Two workers, a flush and evictions side by side; every event is sent three times."""
    stacks = [Stack(redis, engine, batch_size=1) for _ in range(3)]
    evictions, done = Evictions(redis, SHARDS, sample=20), threading.Event()
    numbers = [(f"u{number % 7}", f"e{number}") for number in range(120)]

    def work(stack, seed):
        order = 2 * numbers
        Random(seed).shuffle(order)
        for start in range(0, len(order), 4):
            stack.post(*(stack.event(user=user, event_id=name, at=NOON) for user, name in order[start : start + 4]))
            if start % 60 == 0:  # in between the flush catches up, so that there is something to evict
                wait_until(lambda: not any(stack.shard_log.lengths(SHARDS)))

    def until_done(step):
        while not done.is_set():
            step()

    evicted: list[int] = []
    side = [
        threading.Thread(target=until_done, args=(stacks[2].flusher.flush,)),
        threading.Thread(
            target=until_done, args=(lambda: evicted.append(evictions.evict_records(all_records(redis))),)
        ),
    ]
    workers = [threading.Thread(target=work, args=(stacks[number], number)) for number in range(2)]
    for thread in side + workers:
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    for thread in side:
        thread.join()
    stack = stacks[0]
    while any(state.batches for state in stack.journal.states(SHARDS)):  # what was put back, as records went too often
        stack.catch_up_work()
        stack.try_again()
    stack.post(*(stack.event(user=user, event_id=name, at=NOON) for user, name in numbers))
    stack.flusher.flush()
    assert sum(evicted) > 5
    assert {user: stack.rows(user)["logins", ""][0] for user, _ in numbers} == dict(
        Counter(user for user, _ in numbers)
    )
    assert (stack.count("events"), stack.count("dead_letters")) == (120, 0)
