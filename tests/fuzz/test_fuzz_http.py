"""Bad inputs over HTTP: by the product's own OpenAPI, by bodies, and by raw bytes on a socket."""

import http.client
import json
import socket
from contextlib import suppress
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tests.conftest import examples
from tests.fuzz.bad_inputs import AGS_EVENTS, EVENTS, GOOD, GOOD_AGS, HEADERS, RAW_REQUESTS, bodies

RELAXED = [
    HealthCheck.function_scoped_fixture,
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
]
"""Bad inputs are large and slow to make; fixtures live as long as the file."""
UNICODE_CLASSES = (r"\\p{Cc}\\p{Zl}\\p{Zp}", r"\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029")
"""In JSON Schema's regular expressions, and the same for Python's, which have no classes."""
HTTP_INPUTS = 17_000
"""At least so many in a long run; with those over gRPC 20,000."""
TOPICS = ["default.iam.account.v1.userLoggedIn", "default.social.statistic.v1.statItemUpdated"]


def fuzz(count):
    return settings(max_examples=examples(count), deadline=None, suppress_health_check=RELAXED)


@pytest.fixture(scope="module")
def connection(receiver):
    """A connection that is kept alive, as long as the receiver does so."""
    made = http.client.HTTPConnection("127.0.0.1", receiver.ports["HTTP_PORT"], timeout=30)
    yield made
    made.close()


def post(receiver: Any, connection: Any, path: str, body: bytes, headers: dict[str, str]) -> None:
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    receiver.judge(path, answer.status, answer.headers.get("content-type", ""), answer.read())


@fuzz(900)
@given(body=bodies(EVENTS, GOOD), headers=HEADERS)
def test_no_body_of_events_breaks_the_receiver(receiver, connection, body, headers):
    post(receiver, connection, "/v1/events", body, headers)


@fuzz(400)
@given(body=bodies(AGS_EVENTS, GOOD_AGS), headers=HEADERS, topic=st.sampled_from(TOPICS))
def test_no_body_of_platform_events_breaks_the_receiver(receiver, connection, body, headers, topic):
    post(receiver, connection, f"/v1/ags/{topic}", body, headers)


@fuzz(200)
@given(request=RAW_REQUESTS)
def test_no_bytes_on_a_socket_break_the_receiver(receiver, request):
    with socket.create_connection(("127.0.0.1", receiver.ports["HTTP_PORT"]), timeout=30) as raw:
        raw.sendall(request)
        raw.shutdown(socket.SHUT_WR)
        answer = b""
        with suppress(ConnectionResetError):
            while chunk := raw.recv(65536):
                answer += chunk
    receiver.sent["raw"] += 1
    assert not answer.startswith(b"HTTP/1.1 5"), answer
    assert b"Traceback" not in answer


@pytest.fixture(scope="module")
def operations(receiver):
    """Every operation the receiver says it has, and that takes anything."""
    description = requests.get(f"{receiver.url}/openapi.json", timeout=30).text
    schema = schemathesis.openapi.from_dict(json.loads(description.replace(*UNICODE_CLASSES)))
    found: list[Any] = [made.ok() for made in schema.get_all_operations()]  # type: ignore[union-attr]
    takers = [one for one in found if one.body or one.path_parameters or one.query]
    assert len(takers) >= 5
    return takers


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_that_the_description_leads_to_breaks_the_receiver(receiver, operations, mode):
    with requests.Session() as session:
        for operation in operations:
            attack(receiver, session, operation, mode, max(1, 200 // (len(GenerationMode) * len(operations))))


def attack(receiver: Any, session: requests.Session, operation: Any, mode: GenerationMode, count: int) -> None:
    cases: Any = operation.as_strategy(generation_mode=mode)

    @fuzz(count)
    @given(case=cases)
    def strike(case):
        answer = case.call(base_url=receiver.url, session=session, timeout=30)
        content_type = answer.headers.get("content-type", [""])[0]
        kind = f"{mode.value} {operation.method} {operation.path}"
        receiver.judge(kind, answer.status_code, content_type, answer.content, method=operation.method.upper())

    strike()


def test_after_all_of_them_good_events_are_taken(receiver, connection):
    """The last of the file: it looks back on the others, which a receiver that refuses everything would pass."""
    receiver.was_sent(at_least=HTTP_INPUTS)
    connection.close()  # it rested since the first tests, for longer than the receiver allows
    json_type = {"Content-Type": "application/json"}
    for path, good in (("/v1/events", GOOD), *((f"/v1/ags/{topic}", GOOD_AGS) for topic in TOPICS)):
        before = receiver.sent[f"{path} 202"]
        post(receiver, connection, path, json.dumps(good).encode(), json_type)
        assert receiver.sent[f"{path} 202"] == before + 1, path
