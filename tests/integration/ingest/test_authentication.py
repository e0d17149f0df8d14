"""Authentication over HTTP and gRPC, what a key of one tenant may do, and that nothing else happens."""

import asyncio
from array import array
from datetime import timedelta
from types import SimpleNamespace

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.client.messages import LOGIN_METHOD
from ingest.accelbyte import LOGIN_TOPIC
from ingest.protos.account_pb2 import UserLoggedIn
from models.database.api_keys import read_keys, revoke_key, rotate_key
from models.database.connection import connect_database
from models.rules.calendar import microseconds, to_datetime
from tests.support.keyed_receiver import KeyedReceiver
from tests.support.stack import Stack
from tools.loadtest.requests import Request
from tools.loadtest.targets import BusyError, GrpcTarget

pytestmark = pytest.mark.anyio
AWAY = "postgresql://nobody:x@127.0.0.1:1/none"
EVENT = {"event_id": "e1", "event_type": "login", "user_id": "ada"}
READS = ("/v1/users/ada/progress", "/v1/users/ada/attributes")


async def test_without_keys_everybody_is_let_in(keyed):
    assert (await keyed.post(None, EVENT)).status_code == 202
    assert (await keyed.call(None))[0] is grpc.StatusCode.OK
    assert (await keyed.ask("GET", READS[0])).json()["tenant_id"] == "default"
    assert {event.tenant_id for event in keyed.journaled()} == {"default"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "10.0.0.1:8000"},
        {"Host": "["},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_without_keys_neither_a_proxy_nor_a_web_page_speaks_for_this_machine(keyed, headers):
    answer = await keyed.client.post("/v1/events", json=EVENT, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:questline:problem:access-denied")
    assert keyed.journaled() == []
    for name in ("127.0.0.1:8000", "[::1]:8000", "localhost"):
        ours = {"Host": name, "Origin": "http://localhost:3000"}
        assert (await keyed.client.post("/v1/events", json=EVENT, headers=ours)).status_code == 202
    key = keyed.key("t1", "ingest")
    keyed = await keyed.client.post("/v1/events", json=EVENT, headers=headers | {"X-API-Key": key})
    assert keyed.status_code == 202


async def test_as_soon_as_there_is_a_key_no_request_is_let_in_without_one_and_a_revoked_one_counts(keyed):
    key = keyed.key("t1", "admin")
    answer = await keyed.post(None, EVENT)
    assert answer.status_code == 401
    assert answer.json()["type"] == "urn:questline:problem:unauthenticated"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert (await keyed.post("ql_000000000000_wrong", EVENT)).status_code == 401
    assert (await keyed.call(None))[0] is grpc.StatusCode.UNAUTHENTICATED
    assert (await keyed.call("ql_000000000000_wrong"))[0] is grpc.StatusCode.UNAUTHENTICATED
    for path in (*READS, "/v1/nowhere"):
        assert (await keyed.ask("GET", path)).status_code == 401
    revoke_key(keyed.stack.engine, key.split("_")[1])
    keyed.watcher.refresh()
    assert (await keyed.post(key, EVENT)).status_code == 401
    assert (await keyed.post(None, EVENT)).status_code == 401
    assert keyed.journaled() == []
    assert keyed.refused()["unauthenticated"] == 9


async def test_a_grpc_call_without_a_valid_key_is_refused_before_its_message_is_read(keyed):
    keyed.key("t1", "ingest")
    call = keyed.channel.stream_unary(LOGIN_METHOD)()
    async with asyncio.timeout(5):
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_health_and_the_description_ask_for_no_key(keyed):
    keyed.key("t1", "admin")
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert (await keyed.ask("GET", path)).status_code == 200
    keyed.grpc.health.say(serving=True)
    stub = health_pb2_grpc.HealthStub(keyed.channel)
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING


async def test_an_event_without_a_tenant_belongs_to_that_of_the_key(keyed):
    key, operator = keyed.key("t1", "ingest"), keyed.key("*", "ingest")
    assert (await keyed.post(key, EVENT, {**EVENT, "event_id": "e2", "tenant_id": "t1"})).json()["accepted"] == 2
    assert (await keyed.post(operator, {**EVENT, "event_id": "e3"})).status_code == 202
    assert (await keyed.post(operator, {**EVENT, "event_id": "e4", "tenant_id": "t9"})).status_code == 202
    assert (await keyed.call(key, event_id="g1"))[0] is grpc.StatusCode.OK
    assert (await keyed.call(key, "t1", "g2"))[0] is grpc.StatusCode.OK
    tenants = {event.event_id: event.tenant_id for event in keyed.journaled()}
    assert tenants == {"e1": "t1", "e2": "t1", "e3": "default", "e4": "t9", "g1": "t1", "g2": "t1"}


async def test_a_key_of_one_tenant_writes_nothing_into_another(keyed):
    key = keyed.key("t1", "admin")
    batch = [{**EVENT, "event_id": str(n), "tenant_id": "t1"} for n in range(3)]
    for answer in (
        await keyed.post(key, *batch, {**EVENT, "tenant_id": "t2"}, {"tenant_id": "t2", "broken": True}),
        await keyed.ask("POST", f"/v1/ags/t2.{LOGIN_TOPIC}", key, json={"id": "a", "payload": {"userId": "ada"}}),
        await keyed.ask("PUT", f"{READS[1]}?tenant_id=t2", key, json={"plan": "pro"}),
    ):
        assert answer.status_code == 403
        assert answer.json()["type"] == "urn:questline:problem:access-denied"
    # The topic is ours, the payload is not: refused by itself, as without keys.
    mixed = {"id": "a", "payload": {"userId": "ada", "namespace": "t2"}}
    answer = await keyed.ask("POST", f"/v1/ags/t1.{LOGIN_TOPIC}", key, json=[mixed])
    assert answer.json()["rejected"][0]["code"] == "namespace_mismatch"
    assert (await keyed.call(key, "t2"))[0] is grpc.StatusCode.PERMISSION_DENIED
    assert keyed.journaled() == []
    assert keyed.stack.count("user_attributes") == 0
    assert keyed.refused() == {"denied": 4}


async def test_a_key_of_one_tenant_learns_nothing_of_another(keyed):
    """The answer is the same for a user who is there and for a tenant that is not."""
    key, other = keyed.key("t1", "admin"), keyed.key("t2", "admin")
    assert (await keyed.ask("PUT", READS[1], other, json={"plan": "secret-plan"})).status_code == 200
    assert (await keyed.ask("GET", READS[1], other)).json() == {"plan": "secret-plan"}
    for path in READS:
        known = await keyed.ask("GET", f"{path}?tenant_id=t2", key)
        unknown = await keyed.ask("GET", f"{path.replace('ada', 'nobody')}?tenant_id=t3", key)
        assert known.status_code == unknown.status_code == 403
        assert known.text.replace("t2", "t3") == unknown.text
        assert known.headers.keys() == unknown.headers.keys()
        assert "secret-plan" not in known.text
    # Without a tenant, each key reads its own.
    assert (await keyed.ask("GET", READS[1], key)).json() == {}
    assert (await keyed.ask("GET", READS[0], key)).json()["tenant_id"] == "t1"


async def test_a_scope_allows_its_own_and_nothing_else(keyed):
    ingest, read, admin = (keyed.key("t1", scope) for scope in ("ingest", "read", "admin"))
    asked = {
        "send": lambda key: keyed.post(key, EVENT),
        "read": lambda key: keyed.ask("GET", READS[0], key),
        "read attributes": lambda key: keyed.ask("GET", READS[1], key),
        "reveal": lambda key: keyed.ask("GET", f"{READS[0]}?reveal=true", key),
        "set attributes": lambda key: keyed.ask("PUT", READS[1], key, json={}),
    }
    for key, may in ((ingest, {"send"}), (read, {"read", "read attributes"}), (admin, set(asked))):
        answers = {name: (await ask(key)).status_code for name, ask in asked.items()}
        assert {name for name, status in answers.items() if status < 300} == may
        assert {status for status in answers.values() if status >= 300} <= {403}
    assert (await keyed.call(read))[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_a_key_is_rotated_without_a_moment_in_which_none_is_valid(keyed):
    old = keyed.key("t1", "ingest", note="game server", rate_limit=1000)
    made, row = rotate_key(keyed.stack.engine, old.split("_")[1], timedelta(hours=24))
    keyed.clock.now = microseconds(row.created_at)
    # A receiver that has not looked yet takes the old one, one that has takes both.
    assert (await keyed.post(old, EVENT)).status_code == 202
    keyed.watcher.refresh()
    assert [(await keyed.post(key, EVENT)).status_code for key in (old, made.text)] == [202, 202]
    assert (row.key.tenant_id, row.key.scope, row.note, row.key.rate_limit) == ("t1", "ingest", "game server", 1000)
    keyed.clock.advance(hours=25)
    keyed.stack.redis.flushall()  # no worker took what was sent a day ago
    assert [(await keyed.post(key, EVENT)).status_code for key in (old, made.text)] == [401, 202]
    assert "has expired" in (await keyed.post(old, EVENT)).json()["detail"]


async def test_too_many_requests_of_a_key_are_told_when_to_come_again(keyed_receivers, monkeypatch):
    seconds = [1000.0]
    monkeypatch.setattr("limits.storage.memory.time", SimpleNamespace(time=lambda: seconds[0]))
    monkeypatch.setattr("web.authentication.authenticator.time", lambda: seconds[0])
    keyed = await keyed_receivers(rate_limit=2)
    key, roomy = keyed.key("t1", "ingest"), keyed.key("t1", "ingest", rate_limit=500)
    answers = [await keyed.post(key, EVENT) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[2].json()["type"] == "urn:questline:problem:rate-limited"
    assert (await keyed.call(key))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED  # one limit for both transports
    assert (await keyed.post(roomy, EVENT)).status_code == 202
    assert keyed.refused() == {"rate_limited": 2}
    seconds[0] += int(answers[2].headers["retry-after"])
    assert (await keyed.post(key, EVENT)).status_code == 202


async def test_the_load_tests_grpc_side_shows_its_key_and_waits_when_it_is_told_to(keyed_receivers, monkeypatch):
    monkeypatch.setattr("limits.storage.memory.time", SimpleNamespace(time=lambda: 1000.0))
    monkeypatch.setattr("web.authentication.authenticator.time", lambda: 999.0)
    keyed = await keyed_receivers()
    key = keyed.key("t1", "ingest", rate_limit=1)
    message = UserLoggedIn(id="g1", namespace="t1", user_id="ada").SerializeToString()
    request = Request(LOGIN_METHOD, message, array("L", [0]))
    async with GrpcTarget(f"127.0.0.1:{keyed.port}") as keyless:
        assert (await keyless.send(request)).rejected == {0: "grpc_unauthenticated"}
    async with GrpcTarget(f"127.0.0.1:{keyed.port}", key=key) as target:
        assert (await target.send(request)).rejected == {}
        with pytest.raises(BusyError) as caught:
            await target.send(request)
    assert caught.value.retry_after > 1


async def test_the_last_use_is_written_down_later_and_only_where_there_was_one(keyed):
    key, _unused = keyed.key("t1", "ingest"), keyed.key("t1", "ingest")
    await keyed.post(key, EVENT)
    await keyed.post(key[:-1] + "?", EVENT)
    assert [row.last_used_at for row in read_keys(keyed.stack.engine)] == [None, None]  # not on the request's path
    keyed.watcher.note_uses()
    used = {row.key.key_id: row.last_used_at for row in read_keys(keyed.stack.engine)}
    assert {key_id for key_id, at in used.items() if at} == {key.split("_")[1]}
    assert used[key.split("_")[1]] == to_datetime(keyed.clock())


async def test_an_installation_whose_keys_are_not_known_lets_nobody_in(keyed_receivers, stack):
    away = Stack(stack.redis, connect_database(AWAY))
    keyed = KeyedReceiver(away)
    await keyed.open()
    with pytest.raises(Exception, match="did not answer"):
        keyed.watcher.refresh()
    answer = await keyed.post(None, EVENT)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert (await keyed.call(None))[0] is grpc.StatusCode.UNAVAILABLE
    assert (await keyed.ask("GET", "/healthz")).status_code == 200
    assert keyed.journaled() == []
    # Another receiver of the installation has read the keys: the copy it left will do.
    key = (await keyed_receivers()).key("t1", "ingest")
    with pytest.raises(Exception, match="did not answer"):
        keyed.watcher.refresh()
    assert (await keyed.post(key, EVENT)).status_code == 202
    assert (await keyed.post(None, EVENT)).status_code == 401
    await keyed.close()


async def test_no_log_line_and_no_answer_holds_a_secret(keyed):
    with structlog.testing.capture_logs() as lines:
        key = keyed.key("t1", "ingest")
        wrong = key[:-4] + "oops"
        said = [(await keyed.post(shown, EVENT)).text for shown in (key, wrong)]
        said += [str(await keyed.call(shown, "t2")) for shown in (key, wrong)]
        said.append(str(read_keys(keyed.stack.engine)))
    secrets = {shown.split("_", 2)[2] for shown in (key, wrong)}
    assert not [one for one in (*said, str(lines), str(keyed.refused())) if any(secret in one for secret in secrets)]


async def test_openapi_says_where_keys_are_shown_and_which_routes_are_free(keyed):
    schema = (await keyed.ask("GET", "/openapi.json")).json()
    assert set(schema["components"]["securitySchemes"]) == {"bearer", "header"}
    assert schema["paths"]["/healthz"]["get"]["security"] == []
    responses = schema["paths"]["/v1/events"]["post"]["responses"]
    assert {"401", "403", "429"} <= set(responses)
    assert "security" not in schema["paths"]["/v1/events"]["post"]  # the one of the whole API holds
    assert {} in schema["security"]
