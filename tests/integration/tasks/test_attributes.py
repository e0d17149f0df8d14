"""What operators say of users: kept in PostgreSQL, cached in Redis, written into events, and asked over HTTP."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from api.attributes import attributes_router
from api.database_threads import DatabaseThreads
from config.shards import shard_for
from models.database.attributes import AttributeStore
from models.database.connection import connect_database
from models.errors import DatabaseUnavailableError, StateUnavailableError
from models.events import Event
from models.fleet.histories import Standing
from models.rules.goals import Rulebook
from models.state.attributes import AttributeCache
from models.state.connection import connect_state
from models.state.keys import attributes_key, member
from models.stores.user_attributes import UserAttributes
from tasks.apply.applier import ShardWork
from tasks.apply.enrichment import Enricher
from tests.support.stack import NOON, SHARDS, goal
from web.application import make_application

TTL = timedelta(hours=1)
ADA = ("t1", "ada")
SHARD = shard_for(*ADA, SHARDS)
KEY = attributes_key(SHARD, member(*ADA))
NO_DATABASE = "postgresql://nobody:x@127.0.0.1:1/none"
NO_REDIS = "redis://127.0.0.1:1/0"


def users_over(redis, engine):
    return UserAttributes(AttributeCache(redis, ttl=TTL), AttributeStore(engine), SHARDS)


@pytest.fixture
def users(redis, engine):
    return users_over(redis, engine)


@pytest.fixture
def without_database(redis):
    return users_over(redis, connect_database(NO_DATABASE))


@pytest.fixture
def without_redis(engine):
    return users_over(connect_state(NO_REDIS), engine)


def test_what_was_put_is_read_from_redis_and_after_redis_is_gone_from_postgresql(users, without_database, redis):
    users.replace(*ADA, {"plan": "pro", "seats": 2.5, "beta": True})
    assert without_database.of_user(*ADA) == {"plan": "pro", "seats": 2.5, "beta": True}
    redis.flushall()
    assert users.of_user(*ADA) == {"plan": "pro", "seats": 2.5, "beta": True}
    assert without_database.of_user(*ADA) == {"plan": "pro", "seats": 2.5, "beta": True}
    assert 0 < redis.pttl(KEY) <= TTL / timedelta(milliseconds=1)


def test_reading_keeps_attributes_in_redis(users, redis):
    users.replace(*ADA, {"plan": "pro"})
    redis.pexpire(KEY, 60_000)
    users.of_user(*ADA)
    assert redis.pttl(KEY) > 60_000


def test_a_user_without_attributes_is_asked_for_once(users, without_database):
    assert users.of_user(*ADA) == {}
    assert without_database.of_user(*ADA) == {}


def test_putting_replaces_everything(users):
    users.replace(*ADA, {"plan": "pro", "region": "eu"})
    users.replace(*ADA, {"plan": "team"})
    assert users.of_user(*ADA) == {"plan": "team"}


def test_tenants_do_not_share_users(users):
    users.replace("t1", "ada", {"plan": "pro"})
    assert users.of_user("t2", "ada") == {}


def test_a_slow_reader_does_not_undo_a_new_value(users):
    before = users.store.read([ADA])
    users.replace(*ADA, {"plan": "pro"})
    users.cache.fill(SHARD, before)
    assert users.of_user(*ADA) == {"plan": "pro"}


def test_redis_away_is_answered_from_postgresql_but_nothing_is_written(users, without_redis):
    users.replace(*ADA, {"plan": "pro"})
    assert without_redis.of_user(*ADA) == {"plan": "pro"}
    with pytest.raises(StateUnavailableError):
        without_redis.replace(*ADA, {"plan": "team"})
    assert users.store.read([ADA]) == {ADA: {"plan": "pro"}}


def test_postgresql_away_leaves_what_is_cached_but_nothing_is_written(users, without_database, redis):
    with pytest.raises(DatabaseUnavailableError):
        without_database.replace(*ADA, {"plan": "team"})
    with pytest.raises(DatabaseUnavailableError):
        without_database.of_user(*ADA)
    assert users.of_user(*ADA) == {}


def test_the_last_of_many_writers_is_the_one_in_both(users):
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: users.replace(*ADA, {"n": number}), range(60)))
    assert users.cache.read(SHARD, [ADA]) == users.store.read([ADA])


def event(user="ada", **fields):
    return Event("e", "login", "t1", user, 0, 0, **fields)


def test_events_are_enriched_with_what_rules_ask_for_and_no_more(users):
    users.replace(*ADA, {"role": "admin", "plan": "pro", "timezone": "Europe/Berlin", "secret": 1})
    enricher = Enricher(users)
    plan = frozenset({"plan", "role", "missing"})
    (enriched,) = enricher.enrich(SHARD, [event()], plan)
    assert (enriched.attributes, enriched.timezone) == (b'{"plan":"pro","role":"admin"}', None)
    (enriched,) = enricher.enrich(SHARD, [event()], plan | {"timezone"})
    assert json.loads(enriched.attributes) == {"plan": "pro", "role": "admin", "timezone": "Europe/Berlin"}
    assert enriched.timezone == "Europe/Berlin"
    assert enricher.enrich(SHARD, [event()], frozenset()) == [event()]


def test_the_senders_time_zone_and_an_earlier_version_stay(users):
    users.replace(*ADA, {"plan": "pro", "timezone": "Europe/Berlin"})
    away, replayed = event(timezone="Asia/Tokyo"), event(attributes=b'{"plan":"free"}')
    enriched = Enricher(users).enrich(SHARD, [away, replayed], frozenset({"plan", "timezone"}))
    assert enriched[0].timezone == "Asia/Tokyo"
    assert enriched[1] == replayed


def test_a_batch_of_many_users_is_one_query(users, redis):
    users.replace(*ADA, {"plan": "pro"})
    redis.flushall()
    asked = []

    class Store(AttributeStore):
        def read(self, users):
            asked.append(list(users))
            return super().read(users)

    counting = UserAttributes(users.cache, Store(users.store._engine), SHARDS)
    batch = [event("ada"), event("bob"), event("ada"), event("eve")]
    enricher = Enricher(counting)
    enriched = enricher.enrich(SHARD, batch, frozenset({"plan"}))
    assert [one.attributes for one in enriched] == [b'{"plan":"pro"}', b"", b'{"plan":"pro"}', b""]
    assert asked == [[("t1", "ada"), ("t1", "bob"), ("t1", "eve")]]
    assert enricher.enrich(SHARD, batch, frozenset({"plan"})) == enriched
    assert len(asked) == 1


def test_enriching_needs_an_answer(without_redis, without_database):
    with pytest.raises(StateUnavailableError):
        Enricher(without_redis).enrich(SHARD, [event()], frozenset({"plan"}))
    with pytest.raises(DatabaseUnavailableError):
        Enricher(without_database).enrich(SHARD, [event()], frozenset({"plan"}))


def test_what_a_rule_saw_is_kept_with_the_event_and_a_later_change_changes_nothing(stack, users):
    stack.rulebook = Rulebook(
        (
            goal("pro", "count", "login", target=2, segments={"plan": ("pro",)}),
            goal("daily", "count", "login", per="day", timezone="user"),
        )
    )
    stack.applier = replace(stack.applier, evaluator=replace(stack.evaluator, enricher=Enricher(users)))
    late = NOON.replace(hour=23)
    users.replace("t1", "ada", {"plan": "pro", "role": "admin", "timezone": "Europe/Berlin"})
    stack.clock.advance(hours=12)
    stack.post(stack.event("login", "ada", at=late), stack.event("login", "eve", at=late))
    users.replace("t1", "ada", {"plan": "free"})
    stack.post(stack.event("login", "ada", at=late))
    assert stack.progress("ada") == {
        ("pro", ""): (1, False), ("daily", "2026-11-22"): (1, True), ("daily", "2026-11-21"): (1, True),
    }  # fmt: skip
    assert stack.progress("eve") == {("daily", "2026-11-21"): (1, True)}
    stack.flusher.flush()
    with stack.engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT attributes, timezone FROM events ORDER BY user_id, stamp").all()
    assert kept == [
        ({"plan": "pro", "timezone": "Europe/Berlin"}, "Europe/Berlin"), ({"plan": "free"}, None), (None, None),
    ]  # fmt: skip


@dataclass
class Client:
    """Asks an application in this process."""

    app: FastAPI

    def call(self, method, user, *, query="?tenant_id=t1", **more):
        path = f"/v1/users/{quote(user, safe='')}/attributes{query}"

        async def ask():
            async with AsyncClient(transport=ASGITransport(self.app), base_url="http://test") as client:
                return await client.request(method, path, **more)

        return asyncio.run(ask())


def client_over(users):
    return Client(make_application([attributes_router(users, DatabaseThreads())]))


@pytest.mark.parametrize("user", ["ada", "a/b", "a/attributes", "a:b|c", "ü ñ", "50%", "x?y=z"])
def test_attributes_are_put_and_shown_for_any_printable_user_id(users, user):
    client = client_over(users)
    assert client.call("GET", user).json() == {}
    answer = client.call("PUT", user, json={"plan": "pro", "seats": 3.0})
    assert (answer.status_code, answer.json()) == (200, {"plan": "pro", "seats": 3})
    assert client.call("GET", user).json() == {"plan": "pro", "seats": 3}
    assert users.of_user("t1", user) == {"plan": "pro", "seats": 3}


def test_the_tenant_is_default_where_none_is_named(users):
    client = client_over(users)
    client.call("PUT", "ada", query="", json={"plan": "pro"})
    assert users.of_user("default", "ada") == {"plan": "pro"}


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b'{"plan": null}', 422, "plan must be a string, a number or a boolean"),
        (b'{"timezone": "Mars/Olympus"}', 422, "timezone must be an IANA time zone name"),
        (b"[]", 422, "attributes must be a JSON object"),
        (b"{", 422, "attributes must be JSON"),
        (b" " * 16385, 413, "the body must not be larger than 16 KiB"),
    ],
)
def test_what_is_wrong_is_a_problem_that_names_it(users, content, status, said):
    answer = client_over(users).call("PUT", "ada", content=content)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert said in answer.json()["detail"]
    assert users.of_user(*ADA) == {}


@pytest.mark.parametrize(("user", "query"), [("a\0b", "?tenant_id=t1"), ("x" * 257, ""), ("ada", "?tenant_id=a:b")])
def test_a_user_or_tenant_that_cannot_be_is_refused(users, user, query):
    client = client_over(users)
    assert client.call("PUT", user, query=query, json={}).status_code == 422
    assert client.call("GET", user, query=query).status_code == 422


def test_without_postgresql_or_redis_the_answer_is_to_try_again(without_redis, without_database):
    for client in (client_over(without_redis), client_over(without_database)):
        answer = client.call("PUT", "ada", json={"plan": "pro"})
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0


def test_openapi_describes_attributes(users):
    path = client_over(users).app.openapi()["paths"]["/v1/users/{user_id}/attributes"]
    (content,) = path["put"]["requestBody"]["content"].values()
    assert content["schema"]["maxProperties"] == 32
    assert set(path["put"]["responses"]) >= {"200", "413", "422", "503"}
    assert "application/problem+json" in path["get"]["responses"]["503"]["content"]


def test_one_whose_attributes_are_not_known_does_not_hold_back_the_others(stack, users, without_database):
    stack.rulebook = Rulebook((goal("pro", "count", "login", segments={"plan": ("pro",)}),))
    users.replace(*ADA, {"plan": "pro"})
    stranger = next(name for name in map(str, range(99)) if shard_for("t1", name, SHARDS) == SHARD)
    evaluator = replace(stack.evaluator, enricher=Enricher(without_database))
    applier = replace(stack.applier, evaluator=evaluator)
    stack.post(stack.event("something else", "ada"))
    stack.accept(stack.event("login", "ada"))
    stack.accept(stack.event("login", stranger))
    applier.work([ShardWork(*work) for work in stack.take(SHARD).items()])
    assert stack.progress("ada") == {("pro", ""): (1, True)}
    assert stack.progress(stranger) == {}
    assert stack.journal.states(SHARDS)[SHARD].batches == 1


def test_attributes_that_redis_cached_before_it_went_back_in_time_are_not_trusted(stack):
    cache = AttributeCache(stack.redis, ttl=timedelta(hours=1))
    user, shard = ("t1", "u1"), shard_for("t1", "u1", SHARDS)
    cache.put(shard, user, {"tier": "silver"})
    assert cache.read(shard, [user]) == {user: {"tier": "silver"}}
    stack.resetter.reset([shard], set(Standing))
    assert cache.read(shard, [user]) == {}
    cache.fill(shard, {user: {"tier": "gold"}})
    assert cache.read(shard, [user]) == {user: {"tier": "gold"}}
    cache.put(shard, user, {"tier": "lead"})
    assert cache.read(shard, [user]) == {user: {"tier": "lead"}}
