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
from models.state.keys import former_journal_keys, shard_keys, stream_keys
from models.state.queue.batches import Batch, TakenBatch
from tests.support.journal import journaled_batches
from tests.support.stack import SHARDS, Stack, goal

HERE = 0


def users_of(tenant, number=1):
    """Users of a tenant in one shard."""
    found = (f"u{n}" for n in range(10_000))
    return [user for user in found if shard_for(tenant, user, SHARDS) == HERE][:number]


def event_of(stack, tenant, **more):
    [user] = users_of(tenant)
    return stack.event("login", tenant=tenant, user=user, **more)


def take(stack, count=1):
    """The tenants of the batches that a worker is given next, so many of each stream."""
    return [msgpack.unpackb(batch.packed)[0][2] for batch in stack.take(HERE, count=count).get(HERE, ())]


def held(redis):
    return {name.decode(): int(size) for name, size in redis.hgetall(shard_keys(HERE).held).items()}


def refusal(stack, *events):
    try:
        stack.accept(*events)
    except JournalFullError as error:
        return error.full[HERE]
    return None


def test_a_batch_of_a_tenant_that_waits_for_little_is_taken_next_behind_a_flood(stack):
    for _ in range(100):
        stack.accept(event_of(stack, "loud", payload=b"x" * 1000))
    assert take(stack)[0] == "loud"
    stack.catch_up_work()
    for _ in range(300):
        stack.accept(event_of(stack, "loud", payload=b"x" * 1000))
    while "loud" in take(stack, 5)[:1]:  # what it had before it was a flood
        pass
    stack.accept(event_of(stack, "quiet"))
    assert take(stack)[0] == "quiet"


def test_whoever_has_about_as_much_waiting_shares_a_stream(stack, redis):
    for tenant, batches in (("little", 2), ("some", 100), ("much", 1500)):
        for _ in range(batches):
            stack.accept(event_of(stack, tenant))
    lengths = [redis.xlen(stream) for stream in stream_keys(HERE)]
    assert sum(lengths) == 1602
    assert [1 if length else 0 for length in lengths] == [1, 1, 1, 0, 0]
    by_stream = [
        {msgpack.unpackb(fields[b"b"])[0][2] for _, fields in redis.xrange(stream)} for stream in stream_keys(HERE)
    ]
    assert by_stream[0] == {"little", "some", "much"}  # each by its first ones
    assert by_stream[2] == {"much"}


def test_a_flood_is_worked_on_while_another_tenant_always_has_something(stack):
    for _ in range(60):
        stack.accept(event_of(stack, "many"))
    take(stack, 1000)
    for _ in range(20):
        stack.accept(event_of(stack, "many"))
    seen = []
    for _ in range(20):
        stack.accept(event_of(stack, "one"))
        seen += take(stack)
    assert (seen.count("one"), seen.count("many")) == (20, 20)


def test_batches_of_one_stream_keep_their_order(stack):
    sent = [stack.accept(event_of(stack, "t1"))[0].batch_id for _ in range(30)]
    assert [batch.batch_id for batch in stack.take(HERE)[HERE]] == sent


def test_what_waits_is_counted_by_tenant_until_it_is_applied(stack, redis):
    for number in range(150):
        stack.accept(event_of(stack, f"tenant-{number}"))
    assert redis.hlen(shard_keys(HERE).waiting) == 150
    stack.catch_up_work()
    assert set(redis.hkeys(shard_keys(HERE).waiting)) == {b"@taken"}


def test_a_flood_leaves_room_for_the_others_in_journal_and_log(redis, engine):
    stack = Stack(redis, engine, max_bytes=SHARDS * 20_000)
    loud = lambda: event_of(stack, "loud", payload=b"x" * 500)  # noqa: E731
    while (bound := refusal(stack, loud())) is None:
        stack.catch_up_work()  # journal and log count alike
    assert bound is Bound.TENANT_BYTES
    assert refusal(stack, event_of(stack, "quiet", payload=b"x" * 500)) is None
    assert refusal(stack, loud()) is Bound.TENANT_BYTES
    stack.catch_up_work()
    stack.flusher.flush()
    assert refusal(stack, loud()) is None


def test_what_tenants_hold_is_exact_until_postgresql_has_it(stack, redis):
    for tenant in ("a", "b", "b"):
        stack.accept(event_of(stack, tenant, payload=b"x" * 1000))
    journaled = held(redis)
    assert sum(journaled.values()) == int(redis.get(shard_keys(HERE).journal_bytes))
    assert journaled["b"] == 2 * journaled["a"]
    stack.accept(event_of(stack, "c"))
    stack.catch_up_work()  # a merged call of all tenants
    logged = int(redis.get(shard_keys(HERE).log_bytes))
    assert logged <= sum(held(redis).values()) <= logged + 3  # rounded up for each tenant
    stack.flusher.flush()
    assert held(redis) == {}


def test_what_a_tenant_holds_is_its_own_where_a_turn_takes_several_calls(redis, engine):
    goals = Rulebook(tuple(goal(f"g{number}", "count", "login") for number in range(40)))
    stack = Stack(redis, engine, rulebook=goals)
    for tenant in ("a", "b"):
        stack.accept(*(event_of(stack, tenant) for _ in range(20)))
    stack.catch_up_work()  # takes both together, and they are too much for one call
    assert sum(held(redis).values()) == pytest.approx(int(redis.get(shard_keys(HERE).log_bytes)), abs=8)
    stack.flusher.flush()
    assert held(redis) == {}


def test_dropped_and_split_batches_are_taken_off(stack, redis):
    first = stack.accept(event_of(stack, "a"))[0]
    parts = [event_of(stack, "b") for _ in range(3)]
    whole = stack.accept(*parts)[0]
    stack.journal.split(HERE, whole.batch_id, [pack_batch([part]) for part in parts])
    assert sum(held(redis).values()) == int(redis.get(shard_keys(HERE).journal_bytes))
    stack.journal.drop(HERE, first.batch_id)
    assert set(held(redis)) == {"b"}
    for batch in journaled_batches(redis, SHARDS):
        stack.journal.drop(HERE, batch.batch_id)
    assert held(redis) == {}


def test_one_tenants_users_that_postgresql_lacks_leave_room_for_the_others(redis, engine):
    stack = Stack(redis, engine, max_dirty_users=SHARDS * 200)
    for user in users_of("loud", 160):
        stack.post(stack.event("login", tenant="loud", user=user))
    assert redis.zcard(shard_keys(HERE).dirty) == 160
    assert refusal(stack, event_of(stack, "loud")) is Bound.TENANT_DIRTY_USERS
    assert refusal(stack, event_of(stack, "quiet")) is None


def former_journal(stack, *batches):
    """Accepted batches as releases up to 0.2 kept them."""
    journal, index, ready, due, *_ = former_journal_keys(HERE)
    for number, packed in enumerate(batches):
        stack.redis.hset(journal, f"old-{number}", packed)
        for key in (index, ready, due):
            stack.redis.zadd(key, {f"old-{number}": stack.clock() // 1000 - 1000})
        stack.redis.incrby(shard_keys(HERE).journal_bytes, len(packed))


def test_a_journal_of_a_former_release_is_taken_up(stack, redis):
    """Its batches may be of several tenants, and of some of them nobody has counted the bytes by tenant."""
    batches = [pack_batch([event_of(stack, "a"), event_of(stack, "b")]) for _ in range(450)]
    former_journal(stack, *batches)
    assert stack.journal.states(SHARDS)[HERE].batches == 450
    assert stack.journal.take_up(SHARDS, stack.clock() // 1000) == 450
    assert stack.journal.take_up(SHARDS, stack.clock() // 1000) == 0
    assert redis.exists(*former_journal_keys(HERE)) == 0
    assert sorted(batch.packed for batch in journaled_batches(redis, SHARDS)) == sorted(batches)
    assert int(redis.get(shard_keys(HERE).journal_bytes)) == sum(map(len, batches))
    stack.catch_up_work()
    assert [stack.progress(users_of(tenant)[0], tenant)["logins", ""] for tenant in "ab"] == [(450, True)] * 2
    stack.flusher.flush()
    assert (redis.get(shard_keys(HERE).journal_bytes), held(redis)) == (b"0", {})


def test_a_batch_that_a_former_releases_index_has_lost_is_taken_up_all_the_same(stack, redis):
    former_journal(stack, pack_batch([event_of(stack, "a")]))
    redis.delete(former_journal_keys(HERE)[1])
    assert stack.journal.take_up(SHARDS, stack.clock() // 1000) == 1
    assert len(journaled_batches(redis, SHARDS)) == 1


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
    [odd] = stack.journal.append([Batch(HERE, "odd", packed)], stack.clock() // 1000).accepted
    assert set(held(redis)) <= {"?"}
    stack.journal.drop(HERE, odd.batch_id)
    assert held(redis) == {}


def test_a_shard_whose_worker_does_something_is_open_however_old_the_rest_is(redis, engine):
    stack = Stack(redis, engine, max_age=timedelta(minutes=1))
    first, second, _ = (stack.accept(event_of(stack, "t1"))[0] for _ in range(3))
    for batch in (first, second):
        stack.clock.advance(seconds=50)
        stack.work({HERE: [TakenBatch(batch.batch_id, batch.packed)]})
    assert refusal(stack, event_of(stack, "t1")) is None
    stack.clock.advance(seconds=61)
    assert refusal(stack, event_of(stack, "t1")) is Bound.AGE
