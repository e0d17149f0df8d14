"""One tenant's flood does not delay or refuse another tenant: turns and shares in the journal."""

from datetime import timedelta
from uuid import uuid4

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.shards import shard_for
from models.errors import Bound, JournalFullError
from models.events import pack_batch
from models.rules.goals import Rulebook
from models.state.event_log import ShardLog
from models.state.keys import shard_keys, turns_key
from models.state.queue.batches import Batch
from tests.support.stack import SHARDS, Stack, goal

HERE = 0


def users_of(tenant, number=1):
    """Users of a tenant in one shard."""
    found = (f"u{n}" for n in range(10_000))
    return [user for user in found if shard_for(tenant, user, SHARDS) == HERE][:number]


def event_of(stack, tenant, **more):
    [user] = users_of(tenant)
    return stack.event("login", tenant=tenant, user=user, **more)


def take(stack, number=1):
    """The tenants of the batches that a worker takes next."""
    taken = stack.journal.take(HERE, max_batches=number, max_bytes=1 << 30, now_ms=stack.clock() // 1000)
    return [msgpack.unpackb(batch.packed)[0][2] for batch in taken.batches]


def held(redis):
    return {name.decode(): int(size) for name, size in redis.hgetall(shard_keys(HERE).held).items()}


def refusal(stack, *events):
    try:
        stack.accept(*events)
    except JournalFullError as error:
        return error.full[HERE]
    return None


def test_a_batch_of_a_tenant_that_waits_for_nothing_is_taken_next(stack):
    for _ in range(50):
        stack.accept(event_of(stack, "loud", payload=b"x" * 1000))
    assert take(stack, 2) == ["loud", "loud"]
    stack.accept(event_of(stack, "quiet"))
    assert "quiet" in take(stack, 2)


def test_tenants_that_wait_take_turns_by_bytes(stack):
    for _ in range(30):
        stack.accept(event_of(stack, "small"))
        stack.accept(event_of(stack, "large", payload=b"x" * 8000))
    first = take(stack, 16)
    assert 12 <= first.count("small") <= 15


def test_a_tenant_that_always_has_one_batch_does_not_keep_the_others_out(stack):
    for _ in range(10):
        stack.accept(event_of(stack, "many"))
    seen = []
    for _ in range(20):
        stack.accept(event_of(stack, "one"))
        seen += take(stack)
    assert seen.count("many") >= 9


def test_batches_of_a_tenant_keep_their_order(stack):
    sent = [stack.accept(event_of(stack, "t1"))[0].batch_id for _ in range(30)]
    taken = stack.journal.take(HERE, max_batches=30, max_bytes=1 << 30, now_ms=stack.clock() // 1000)
    assert [batch.batch_id for batch in taken.batches] == sent


def test_many_tenants_leave_nothing_behind_once_the_shard_is_drained(stack, redis):
    for number in range(150):
        stack.accept(event_of(stack, f"tenant-{number}"))
    for _ in range(100):
        stack.accept(event_of(stack, "loud"))
    for _ in range(249):
        take(stack)
    assert redis.hlen(turns_key(HERE)) < 75
    take(stack)
    assert set(redis.hkeys(turns_key(HERE))) == {b"@virtual", b"@taken"}


def test_a_flood_leaves_room_for_the_others_in_journal_and_log(redis, engine):
    stack = Stack(redis, engine, max_bytes=SHARDS * 20_000)
    loud = lambda: event_of(stack, "loud", payload=b"x" * 500)  # noqa: E731
    while (bound := refusal(stack, loud())) is None:
        stack.apply(*stack.rung)  # journal and log count alike
    assert bound is Bound.TENANT_BYTES
    assert refusal(stack, event_of(stack, "quiet", payload=b"x" * 500)) is None
    assert refusal(stack, loud()) is Bound.TENANT_BYTES
    stack.apply(*stack.rung)
    stack.flusher.flush()
    assert refusal(stack, loud()) is None


def test_what_tenants_hold_is_exact_until_postgresql_has_it(stack, redis):
    for tenant in ("a", "b", "b"):
        stack.accept(event_of(stack, tenant, payload=b"x" * 1000))
    journaled = held(redis)
    assert sum(journaled.values()) == int(redis.get(shard_keys(HERE).journal_bytes))
    assert journaled["b"] == 2 * journaled["a"]
    stack.accept(event_of(stack, "c"))
    batch = stack.journal.next_ready(HERE)
    stack.apply(batch)  # a merged call of all tenants
    logged = int(redis.get(shard_keys(HERE).log_bytes))
    assert logged <= sum(held(redis).values()) <= logged + 3  # rounded up for each tenant
    stack.flusher.flush()
    assert held(redis) == {}


def test_what_a_tenant_holds_is_its_own_where_a_turn_takes_several_calls(redis, engine):
    goals = Rulebook(tuple(goal(f"g{number}", "count", "login") for number in range(40)))
    stack = Stack(redis, engine, rulebook=goals)
    first, _ = [stack.accept(*(event_of(stack, tenant) for _ in range(20)))[0] for tenant in ("a", "b")]
    stack.apply(first)  # takes both together, and they are too much for one call
    assert sum(held(redis).values()) == pytest.approx(int(redis.get(shard_keys(HERE).log_bytes)), abs=8)
    stack.flusher.flush()
    assert held(redis) == {}


def test_dropped_and_split_batches_are_taken_off(stack, redis):
    first = stack.accept(event_of(stack, "a"))[0]
    parts = [event_of(stack, "b") for _ in range(3)]
    whole = stack.accept(*parts)[0]
    stack.journal.split(HERE, whole.batch_id, [pack_batch([part]) for part in parts], now_ms=0)
    assert sum(held(redis).values()) == int(redis.get(shard_keys(HERE).journal_bytes))
    stack.journal.drop(HERE, first.batch_id)
    assert set(held(redis)) == {"b"}
    for number in range(3):
        stack.journal.drop(HERE, f"{whole.batch_id}.{number}")
    assert held(redis) == {}


def test_one_tenants_users_that_postgresql_lacks_leave_room_for_the_others(redis, engine):
    stack = Stack(redis, engine, max_dirty_users=SHARDS * 200)
    for user in users_of("loud", 160):
        stack.post(stack.event("login", tenant="loud", user=user))
    assert redis.zcard(shard_keys(HERE).dirty) == 160
    assert refusal(stack, event_of(stack, "loud")) is Bound.TENANT_DIRTY_USERS
    assert refusal(stack, event_of(stack, "quiet")) is None


def test_a_journal_of_the_former_release_is_taken_up(stack, redis):
    """Its batches are ready by the clock, may be of several tenants, and nobody has counted them by tenant."""
    keys, now_ms = shard_keys(HERE), stack.clock() // 1000
    events = [event_of(stack, "a"), event_of(stack, "b")]
    packed = pack_batch(events)
    redis.hset(keys.journal, "old", packed)
    for index in (keys.journal_index, keys.ready, keys.journal_due):
        redis.zadd(index, {"old": now_ms - 1000})
    redis.incrby(keys.journal_bytes, len(packed))
    assert stack.journal.states(SHARDS)[HERE].ready_ms == now_ms - 1000
    stack.accept(event_of(stack, "a"))
    stack.apply(stack.journal.next_ready(HERE))
    assert [len(stack.progress(users_of(tenant)[0], tenant)) for tenant in "ab"] == [2, 2]
    stack.flusher.flush()
    assert (redis.get(keys.journal_bytes), held(redis)) == (b"0", {})


def test_entries_of_the_log_that_a_former_release_wrote_are_acknowledged(stack, redis):
    stack.post(event_of(stack, "a"))
    [(entry_id, fields)] = redis.xrange(shard_keys(HERE).log)
    redis.xdel(shard_keys(HERE).log, entry_id)
    redis.xadd(shard_keys(HERE).log, {name: value for name, value in fields.items() if name != b"tenants"})
    assert [entry.tenants for entry in ShardLog(redis).read(HERE, 10)] == [[]]
    stack.flusher.flush()
    assert stack.count("events") == 1


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=256)


@given(
    st.lists(st.tuples(names, names, st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)), min_size=1, max_size=20)
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_script_reads_the_tenant_of_any_batch(stack, redis, given_names):
    redis.delete(shard_keys(HERE).held)
    events = [stack.event(kind, event_id=name, tenant=tenant) for name, kind, tenant in given_names]
    packed = pack_batch(events)
    stack.journal.append([Batch(HERE, uuid4().hex, packed)], stack.clock() // 1000)
    assert held(redis) == {given_names[0][2]: len(packed)}


@pytest.mark.parametrize("packed", [b"", b"\x90", b"x", b"\xdc", b"\x91\x93\xa1a\xa1b", b"\x91\x93\xda\xff", bytes(9)])
def test_bytes_that_are_no_batch_belong_to_no_tenant_and_can_be_dropped(stack, redis, packed):
    stack.journal.append([Batch(HERE, "odd", packed)], stack.clock() // 1000)
    assert set(held(redis)) <= {"?"}
    stack.journal.drop(HERE, "odd")
    assert held(redis) == {}


def test_a_shard_whose_worker_takes_some_is_open_however_old_the_rest_is(redis, engine):
    stack = Stack(redis, engine, max_age=timedelta(minutes=1))
    for _ in range(3):
        stack.accept(event_of(stack, "t1"))
    for _ in range(2):
        stack.clock.advance(seconds=50)
        take(stack)
    assert refusal(stack, event_of(stack, "t1")) is None
    stack.clock.advance(seconds=61)
    assert refusal(stack, event_of(stack, "t1")) is Bound.AGE


def test_a_batch_of_a_tenant_that_waits_for_nothing_asks_for_a_message_of_its_own(stack):
    for _ in range(16):
        stack.accept(event_of(stack, "loud"))
    assert stack.rung == []
    quiet = stack.accept(event_of(stack, "quiet"))
    assert stack.rung == quiet
    stack.accept(event_of(stack, "quiet"))
    assert stack.rung == []
