"""Keys of ours that hold another application's value: of a user, of a shard, of the whole product."""

import re

import pytest

from config.shards import shard_for
from models.attributes import pack_attributes
from models.database.attributes import AttributeStore
from models.errors import NotReadyError, StateUnavailableError
from models.state.attributes import AttributeCache
from models.state.checks.answers import own_keys
from models.state.checks.key_types import SHARD_TYPES, foreign_keys_of_broker, foreign_keys_of_state
from models.state.keys import (
    INSTALLATION,
    METRICS,
    UNDELIVERABLE,
    ShardKeys,
    attributes_key,
    layout_key,
    member,
    record_key,
    shard_keys,
    stream_keys,
)
from models.stores.user_attributes import UserAttributes
from tests.support.journal import journaled_batches
from tests.support.stack import SHARDS

SHARD = shard_for("t1", "u1", SHARDS)
NEIGHBOUR = next(f"n{n}" for n in range(100) if shard_for("t1", f"n{n}", SHARDS) == SHARD)


def rename_foreign(redis, key):
    redis.delete(key)
    redis.set(key, "hello")


def give_up(stack):
    """The batches again, until nothing of them is in the journal."""
    for _ in range(10):
        stack.try_again()
        if not any(state.batches for state in stack.journal.states(SHARDS)):
            return


def dead_letters(engine):
    with engine.connect() as connection:
        return connection.exec_driver_sql("SELECT user_id, event_ids, error FROM dead_letters").all()


@pytest.mark.parametrize("suffix", ["record", "ids"])
def test_a_user_whose_key_is_foreign_is_one_dead_letter_with_advice_and_neighbours_count(stack, redis, engine, suffix):
    stack.post(stack.event(user="u1"), stack.event(user=NEIGHBOUR))
    stack.flusher.flush()
    name = member("t1", "u1")
    key = record_key(SHARD, name) if suffix == "record" else next(redis.scan_iter(f"*seen:{name}:*")).decode()
    rename_foreign(redis, key)
    batches = stack.accept(
        stack.event(user="u1", event_id="second"), stack.event(user=NEIGHBOUR), stack.event(user="u2")
    )
    stack.apply(*batches)
    give_up(stack)
    assert stack.progress(NEIGHBOUR)[("logins", "")] == (2, False)
    ((user, ids, error),) = dead_letters(engine)
    assert (user, ids) == ("u1", ["second"])
    assert key in error
    assert "RENAME" in error
    stack.flusher.flush()
    assert redis.get(key) == b"hello"
    assert stack.rows("u1")[("logins", "")] == (1, False)


def test_the_record_of_a_user_with_a_foreign_key_counts_as_missing(stack, redis):
    stack.post(stack.event())
    rename_foreign(redis, record_key(SHARD, member("t1", "u1")))
    assert stack.records.read(SHARD, "t1", "u1") is None


def test_a_foreign_record_of_a_dirty_user_does_not_hold_up_the_flush(stack, redis):
    stack.post(stack.event(user="u1"), stack.event(user=NEIGHBOUR))
    rename_foreign(redis, record_key(SHARD, member("t1", "u1")))
    stack.flusher.flush()
    assert stack.rows(NEIGHBOUR)[("logins", "")] == (1, False)
    assert stack.count("events") == 2
    assert stack.records.dirty_counts(SHARDS) == [0] * SHARDS


@pytest.mark.parametrize(
    "foreign", [lambda redis, key: redis.set(key, "hello"), lambda redis, key: redis.rpush(key, 1)]
)
def test_foreign_attributes_are_read_from_postgresql(stack, redis, engine, foreign):
    attributes = UserAttributes(AttributeCache(redis, ttl=stack.window), AttributeStore(engine), SHARDS)
    attributes.replace("t1", "u1", {"plan": "gold"})
    assert redis.get(attributes_key(SHARD, member("t1", "u1"))) == pack_attributes({"plan": "gold"})
    redis.delete(attributes_key(SHARD, member("t1", "u1")))
    foreign(redis, attributes_key(SHARD, member("t1", "u1")))
    assert attributes.of_user("t1", "u1") == {"plan": "gold"}


# A fence that cannot be read is written anew.
@pytest.mark.parametrize("name", sorted({*ShardKeys._fields} - {"fence"}))
def test_a_foreign_key_of_a_shard_leaves_nothing_half_done(stack, redis, engine, name):
    """An event counts once that is mended: no part of it was written before."""
    key = getattr(shard_keys(SHARD), name)
    batches = stack.accept(stack.event())
    redis.rename(key, "aside") if redis.exists(key) else None
    redis.set(key, "hello")
    stack.apply(*batches)
    assert len(journaled_batches(redis, SHARDS)) == 1
    with pytest.raises(NotReadyError, match=f"not ours: {re.escape(key)}"):
        own_keys(redis, SHARDS)
    redis.delete(key)
    redis.rename("aside", key) if redis.exists("aside") else None
    stack.apply(*batches)
    stack.flusher.flush()
    assert stack.rows()[("logins", "")] == (1, False)
    assert (stack.count("events"), stack.count("dead_letters")) == (1, 0)
    own_keys(redis, SHARDS)


@pytest.mark.parametrize(
    "key",
    [shard_keys(SHARD).dirty, shard_keys(SHARD).held, shard_keys(SHARD).waiting, stream_keys(SHARD)[0]],
)
def test_a_batch_that_is_refused_for_a_foreign_key_leaves_nothing_in_the_journal(stack, redis, key):
    redis.set(key, "hello")
    with pytest.raises(StateUnavailableError):
        stack.accept(stack.event())
    redis.delete(key)
    assert not any(state.batches for state in stack.journal.states(SHARDS))


def test_every_key_of_a_shard_has_a_type():
    assert set(SHARD_TYPES) == set(ShardKeys._fields)


def test_a_running_shard_and_an_empty_one_have_no_foreign_keys(stack, redis):
    assert foreign_keys_of_state(redis, SHARDS) == []
    stack.post(stack.event(), stack.event("workout", increment=3))
    stack.accept(stack.event())
    assert foreign_keys_of_state(redis, SHARDS) == []
    assert foreign_keys_of_broker(redis, ["events.0"]) == []


@pytest.mark.parametrize("name", ShardKeys._fields)
def test_each_foreign_key_of_a_shard_is_named(redis, name):
    key = getattr(shard_keys(2), name)
    redis.lpush(key, "hello")
    (found,) = foreign_keys_of_state(redis, SHARDS)
    assert str(found) == f"{key} holds a list instead of a {SHARD_TYPES[name]}"


def test_foreign_keys_of_the_whole_product_are_named(redis):
    redis.set(METRICS, "hello")
    redis.set(UNDELIVERABLE, "hello")
    redis.set("events.1", "hello")
    redis.set(INSTALLATION, "hello")
    redis.set(layout_key(1), "hello")
    found = [key.key for key in foreign_keys_of_state(redis, SHARDS)]
    assert sorted(found) == sorted([METRICS, INSTALLATION, layout_key(1)])
    assert {found.key for found in foreign_keys_of_broker(redis, ["events.0", "events.1"])} == {
        UNDELIVERABLE,
        "events.1",
    }
