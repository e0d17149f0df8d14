"""How much a tenant or a key may send: a request past it is refused as a whole, over HTTP and gRPC."""

import json

import grpc
import pytest
from typer.testing import CliRunner

from cli import app
from ingest.quotas import Quotas
from models.access.callers import Caller
from models.access.quotas import WINDOW_S, Quota, Sent, of_key, of_tenant
from models.database.api_keys import Rights, create_key
from models.database.quotas import drop_quota, read_quotas, write_quota
from models.errors import QuotaExceededError, StateUnavailableError
from models.state.connection import connect_state
from models.state.metrics import Metrics
from models.state.quota_usage import DailyUsage
from tests.support.keyed_receiver import KeyedReceiver
from tests.support.stack import Clock
from worker.receiver.quota_watch import QuotaWatch

pytestmark = pytest.mark.anyio
ACME = Caller("k1", "acme", "ingest")


@pytest.fixture
async def keyed_receivers(stack):
    made = []

    async def make(**settings):
        keyed = KeyedReceiver(stack, **settings)
        keyed.watcher.refresh()
        await keyed.open()
        made.append(keyed)
        return keyed

    yield make
    for keyed in made:
        await keyed.close()


def events(number, tenant=None):
    more = {} if tenant is None else {"tenant_id": tenant}
    return [{"event_id": f"e{n}", "event_type": "login", "user_id": f"u{n}", **more} for n in range(number)]


async def test_a_request_past_the_events_of_its_tenant_is_refused_whole_and_others_go_on(keyed_receivers):
    keyed = await keyed_receivers(quota_events=2)
    loud, quiet = keyed.key("loud", "ingest"), keyed.key("quiet", "ingest")
    assert (await keyed.post(loud, *events(2 * WINDOW_S - 1))).status_code == 202
    before = len(keyed.journaled())
    answer = await keyed.post(loud, *events(2))
    assert (answer.status_code, answer.json()["type"]) == (429, "urn:questline:problem:quota-exceeded")
    assert "2 events a second" in answer.json()["detail"]
    assert 1 <= int(answer.headers["retry-after"]) <= WINDOW_S
    assert len(keyed.journaled()) == before
    assert keyed.refused() == {"quota_exceeded": 1}
    assert (await keyed.post(loud, *events(1))).status_code == 202  # what was refused was not counted
    assert (await keyed.post(quiet, *events(2))).status_code == 202


async def test_a_request_that_no_wait_would_help_is_told_so(keyed_receivers):
    keyed = await keyed_receivers(quota_events=1)
    answer = await keyed.post(keyed.key("loud", "ingest"), *events(WINDOW_S + 1))
    assert answer.status_code == 429
    assert f"at most {WINDOW_S} in one request" in answer.json()["detail"]


async def test_who_has_used_up_a_quota_is_refused_before_the_body_is_looked_at(keyed_receivers):
    keyed = await keyed_receivers(quota_events=1)
    loud = keyed.key("loud", "ingest")
    assert (await keyed.post(loud, *events(WINDOW_S))).status_code == 202
    assert (await keyed.ask("POST", "/v1/events", loud, content=b"no JSON")).status_code == 429


async def test_grpc_says_when_to_try_again(keyed_receivers):
    keyed = await keyed_receivers(quota_events=1)
    loud = keyed.key("loud", "ingest")
    assert (await keyed.post(loud, *events(WINDOW_S))).status_code == 202
    status, words = await keyed.call(loud)
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "1 events a second" in words


async def test_the_tenants_of_an_operators_request_are_charged_each(keyed_receivers):
    keyed = await keyed_receivers(quota_events=1)
    gateway = keyed.key("*", "ingest")
    assert (await keyed.post(gateway, *events(WINDOW_S, "a"), *events(WINDOW_S, "b"))).status_code == 202
    assert (await keyed.post(gateway, *events(1, "a"))).status_code == 429
    assert (await keyed.post(gateway, *events(1, "c"))).status_code == 202


def quotas_of(redis, default=Quota(), clock=None):  # noqa: B008 - never changed
    return Quotas(default, DailyUsage(redis), Metrics(redis), clock or Clock())


def test_bytes_of_a_day_are_counted_over_all_receivers(redis):
    one, other = (quotas_of(redis, Quota(None, 1000)) for _ in range(2))
    one.spend(ACME, {"acme": Sent(1, 600)})
    other.spend(ACME, {"acme": Sent(1, 300)})
    one.push()
    other.push()
    one.push()
    for quotas in (one, other):
        with pytest.raises(QuotaExceededError, match="1,000 bytes a day"):
            quotas.spend(ACME, {"acme": Sent(1, 101)})
    other.spend(ACME, {"acme": Sent(1, 100)})


def test_who_sends_nothing_more_costs_redis_no_writes(redis):
    quotas = quotas_of(redis, Quota(None, 1000))
    quotas.spend(ACME, {f"t{number}": Sent(1, 1) for number in range(1500)})
    quotas.push()
    redis.config_resetstat()
    quotas.push()
    assert "cmdstat_hincrby" not in redis.info("commandstats")
    assert sum(quotas._sent.values()) == 1500


def test_what_is_sent_while_the_others_are_told_is_not_forgotten(redis):
    quotas = quotas_of(redis, Quota(None, 1000))

    class Slow(DailyUsage):
        def add(self, day, sizes):
            quotas.spend(Caller("k3", "late", "ingest"), {"late": Sent(1, 900)})
            return super().add(day, sizes)

    quotas._usage = Slow(redis)
    quotas.spend(ACME, {"acme": Sent(1, 1)})
    quotas.push()
    with pytest.raises(QuotaExceededError):
        quotas.spend(Caller("k3", "late", "ingest"), {"late": Sent(1, 200)})


def test_a_new_day_begins_with_nothing_sent(redis):
    clock = Clock()
    quotas = quotas_of(redis, Quota(None, 1000), clock)
    quotas.spend(ACME, {"acme": Sent(1, 1000)})
    with pytest.raises(QuotaExceededError) as caught:
        quotas.check(ACME)
    assert caught.value.retry_after == 12 * 3600  # until midnight, UTC
    quotas.push()
    clock.advance(hours=12)
    quotas.spend(ACME, {"acme": Sent(1, 1000)})


def test_what_redis_did_not_hear_is_told_later(redis):
    away = connect_state("redis://127.0.0.1:1/0")
    quotas = Quotas(Quota(None, 1000), DailyUsage(away), Metrics(redis), Clock())
    quotas.spend(ACME, {"acme": Sent(1, 700)})
    with pytest.raises(StateUnavailableError):
        quotas.push()
    quotas._usage = DailyUsage(redis)
    quotas.push()
    quotas.push()
    [key] = redis.keys("ql:usage:*")
    assert redis.hget(key, "tenant:acme") == b"700"
    assert redis.ttl(key) > 0


def test_a_quota_of_its_own_holds_within_a_second_and_zero_lifts_the_bound(redis, engine):
    quotas = quotas_of(redis, Quota(1, 1000))
    watch = QuotaWatch(quotas, engine)
    write_quota(engine, of_tenant("acme"), Quota(0, None))
    write_quota(engine, of_key("k1"), Quota(3, None))
    watch._poll()
    quotas.spend(ACME, {"acme": Sent(3 * WINDOW_S, 1)})
    with pytest.raises(QuotaExceededError, match="this key may send 3 events a second"):
        quotas.check(ACME)
    quotas.spend(Caller("k2", "acme", "ingest"), {"acme": Sent(1000, 1)})
    assert drop_quota(engine, of_tenant("acme"))
    assert not drop_quota(engine, of_tenant("acme"))
    assert read_quotas(engine) == {"key:k1": Quota(3, None)}


@pytest.fixture
def cli(installation, engine):
    """Runs `questline quotas` against the test's PostgreSQL."""
    return lambda *arguments: CliRunner().invoke(app, ["quotas", *arguments], env={"COLUMNS": "200"})


def test_the_commands_set_show_and_take_back_quotas(cli, engine):
    key_id = create_key(engine, Rights("acme", "ingest"))[1].key.key_id
    assert "every tenant has the quota of the settings" in cli("list").output
    said = cli("set", "--tenant", "acme", "--events", "5000", "--bytes", "20GiB")
    assert (said.exit_code, said.stdout) == (0, "tenant:acme: 5,000 events a second, 21,474,836,480 bytes a day\n")
    assert cli("set", "--key", key_id, "--events", "0").exit_code == 0
    assert json.loads(cli("list", "--json").stdout) == [
        {"key": key_id, "events_per_second": 0, "bytes_per_day": None},
        {"tenant": "acme", "events_per_second": 5000, "bytes_per_day": 20 * 2**30},
    ]
    assert "no bound" in cli("list").output
    assert "as the settings say" in cli("unset", "--tenant", "acme").output
    assert "had no quota of its own" in cli("unset", "--tenant", "acme").output
    assert read_quotas(engine) == {f"key:{key_id}": Quota(0, None)}


def test_a_key_that_does_not_exist_gets_no_quota(cli, engine):
    refused = cli("set", "--key", "3f2a9c1b7d40", "--events", "5")
    assert refused.exit_code == 1
    assert "there is no key 3f2a9c1b7d40" in str(refused.exception)
    assert read_quotas(engine) == {}


@pytest.mark.parametrize(
    "said",
    [
        "--tenant a",
        "--events 1",
        "--tenant a --key b --events 1",
        "--tenant a/b --events 1",
        "--tenant a --bytes much",
        "--tenant a --events -1",
    ],
)
def test_a_quota_that_cannot_be_meant_is_refused(cli, engine, said):
    assert cli("set", *said.split()).exit_code == 2
    assert read_quotas(engine) == {}
