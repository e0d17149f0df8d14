"""The client commands, against an HTTP and a gRPC server that show what was sent and answer as told."""

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from typer.testing import CliRunner

from cli import app
from cli.client.messages import LOGIN_METHOD, STATISTIC_METHOD
from cli.client.ports import free_port
from cli.dead_letters.redrive import redrive_dead_letters
from config.settings import Settings
from ingest.protos.account_pb2 import UserLoggedIn
from ingest.protos.statistic_pb2 import StatItemUpdated
from models.database.dead_letters.filter import DeadLetterFilter
from models.errors import ConfigurationError, PermanentError, ReceiverUnavailableError
from tests.support.servers import wait_until

GOAL = {
    "challenge_id": "c",
    "goal_id": "g1",
    "name": "Win [5]",
    "period": "",
    "progress": 2.5,
    "target": 5,
    "status": "in_progress",
    "completed_at": None,
    "rule_version": 1,
}
DONE = {
    "goal_id": "g2",
    "period": "2026-11-21",
    "status": "completed",
    "completed_at": "2026-11-21T10:00:00Z",
}
PROGRESS = {"user_id": "a/b [red]", "tenant_id": "default", "goals": [GOAL, GOAL | DONE]}


@pytest.fixture
def grpc_receiver(monkeypatch, tmp_path):
    """A gRPC server; messages in ``calls``, a status to fail with in ``fail``."""
    calls: list[Any] = []
    fail: list[grpc.StatusCode] = []

    def take(message, context):
        calls.append(message)
        if fail:
            context.abort(fail[0], "no")
        return Empty()

    server = grpc.server(ThreadPoolExecutor(1))
    for name, message in ((LOGIN_METHOD, UserLoggedIn), (STATISTIC_METHOD, StatItemUpdated)):
        service, method = name.strip("/").split("/")
        handler = grpc.unary_unary_rpc_method_handler(take, message.FromString, Empty.SerializeToString)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("GRPC_PORT", str(port))
    monkeypatch.setenv("QUESTLINE_DATA_DIR", str(tmp_path))
    yield calls, fail
    server.stop(None).wait()


def run(*arguments):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160"})


def test_a_login_is_posted_as_the_platform_writes_it(receiver):
    answer = run("events", "trigger", "login", "--user", "ada", "--id", "e1")

    assert answer.exit_code == 0, answer.output
    assert receiver.calls == [
        ("POST", "/v1/ags/default.iam.account.v1.userLoggedIn",
         {"id": "e1", "payload": {"userId": "ada", "namespace": "default"}})
    ]  # fmt: skip
    assert "sent e1" in answer.output
    assert '"accepted": 1' in answer.output


def test_a_statistic_is_posted_with_its_value_and_how_far_it_moved(receiver):
    arguments = [
        "--user",
        "ada",
        "--stat-code",
        "level",
        "--value",
        "7",
        "--inc",
        "2",
        "--tenant",
        "game",
        "--json",
    ]

    answer = run("events", "trigger", "statistic", *arguments)

    ((_, path, body),) = receiver.calls
    assert path == "/v1/ags/game.social.statistic.v1.statItemUpdated"
    assert body["payload"] == {
        "userId": "ada",
        "namespace": "game",
        "statCode": "level",
        "value": 7,
        "inc": 2,
    }
    assert json.loads(answer.output) == {"event_id": body["id"], "answer": {"accepted": 1, "rejected": []}}


def test_the_configured_namespace_is_the_tenant(receiver, monkeypatch):
    monkeypatch.setenv("AB_NAMESPACE", "mygame")

    run("events", "trigger", "login", "--user", "ada")

    assert receiver.calls[0][1] == "/v1/ags/mygame.iam.account.v1.userLoggedIn"


def test_two_triggers_are_two_events(receiver):
    run("events", "trigger", "login", "--user", "ada")
    run("events", "trigger", "login", "--user", "ada")

    assert receiver.calls[0][2]["id"] != receiver.calls[1][2]["id"]


def test_a_refused_event_is_an_error_with_the_receivers_words(receiver):
    receiver.answer = (422, {"accepted": 0, "rejected": [{"code": "too_long"}]})

    answer = run("events", "trigger", "login", "--user", "ada")

    assert isinstance(answer.exception, PermanentError)
    assert "422" in str(answer.exception)
    assert "too_long" in str(answer.exception)


def test_every_command_shows_the_key_of_the_environment_and_none_without(receiver, monkeypatch):
    receiver.answer = (200, PROGRESS | {"goals": []})
    commands = (("events", "trigger", "login", "--user", "ada"), ("progress", "ada"), ("attributes", "get", "ada"),
                ("attributes", "set", "ada"))  # fmt: skip
    for command in commands:
        run(*command)
    monkeypatch.setenv("API_KEY", "ql_1_x")
    for command in commands:
        run(*command)
    assert receiver.shown == [None] * 4 + ["Bearer ql_1_x"] * 4


def test_redriving_shows_the_key_too(receiver):
    receiver.answer = (200, {"redriven": 1, "refused": [], "skipped": 0, "left": 0, "next": None})

    redrive_dead_letters(Settings(api_key="ql_1_x"), DeadLetterFilter(), None, dry_run=True, on_done=lambda *_: None)

    assert receiver.shown == ["Bearer ql_1_x"]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "command",
    [
        ("events", "trigger", "login", "--user", "ada"), ("progress", "ada"), ("attributes", "set", "ada"),
        ("load-test", "--events", "5"), ("load-test", "--events", "5", "--grpc"),
    ],
)  # fmt: skip
def test_a_key_that_is_not_taken_is_said_in_one_line_at_once(receiver, monkeypatch, status, command):
    monkeypatch.setenv("DB_HOST", "127.0.0.1")
    receiver.answer = (status, {"title": "No", "detail": "not this key"})

    answer = run(*command)

    assert isinstance(answer.exception, PermanentError)
    assert f"answered {status}: not this key" in str(answer.exception)
    assert "API_KEY" in str(answer.exception)
    assert "\n" not in str(answer.exception)
    assert len(receiver.calls) == 1


def test_a_login_goes_by_grpc(grpc_receiver):
    answer = run("events", "trigger", "login", "--user", "ada", "--tenant", "game", "--grpc")

    (message,) = grpc_receiver[0]
    assert answer.exit_code == 0, answer.output
    assert (message.user_id, message.namespace, message.id[:4]) == ("ada", "game", "cli-")


def test_a_statistic_goes_by_grpc(grpc_receiver):
    run("events", "trigger", "statistic", "--user", "ada", "--stat-code", "wins", "--value", "3", "--grpc")

    (message,) = grpc_receiver[0]
    assert (message.user_id, message.payload.stat_code) == ("ada", "wins")
    assert (message.payload.latest_value, message.payload.inc) == (3, 0)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ReceiverUnavailableError),
        (grpc.StatusCode.INVALID_ARGUMENT, PermanentError),
    ],
)
def test_a_grpc_failure_is_an_error_of_ours(grpc_receiver, status, error):
    grpc_receiver[1].append(status)

    answer = run("events", "trigger", "login", "--user", "ada", "--grpc")

    assert isinstance(answer.exception, error)
    assert status.name in str(answer.exception)


def test_progress_is_a_table_and_ids_are_shown_as_they_are(receiver):
    receiver.answer = (200, PROGRESS)

    answer = run("progress", "a/b [red]")

    assert receiver.calls == [("GET", "/v1/users/a%2Fb%20%5Bred%5D/progress?tenant_id=default", None)]
    assert "a/b [red]" in answer.output
    assert "Win [5]" in answer.output
    assert "2.5 / 5" in answer.output
    assert "2026-11-21" in answer.output


@pytest.mark.parametrize("user", ["..", "a%2Fb", "ü:|?#", "x" * 256])
def test_any_id_reaches_the_receiver_unchanged(receiver, user):
    receiver.answer = (200, PROGRESS | {"goals": []})

    run("progress", user, "--tenant", "t1")

    path, _, query = receiver.calls[0][1].partition("?")
    assert unquote(path.removeprefix("/v1/users/").removesuffix("/progress")) == user
    assert query == "tenant_id=t1"


def test_progress_can_be_json(receiver):
    receiver.answer = (200, PROGRESS)

    assert json.loads(run("progress", "ada", "--json").output) == PROGRESS


def test_an_error_of_the_receiver_is_told(receiver):
    receiver.answer = (404, {"title": "Not found", "detail": "no such tenant"})

    answer = run("progress", "ada")

    assert isinstance(answer.exception, PermanentError)
    assert "404: no such tenant" in str(answer.exception)


@pytest.mark.parametrize(
    "arguments",
    [["progress", "ada"], ["events", "trigger", "login", "--user", "ada"], ["load-test", "--events", "10"]],
)
def test_nobody_there_is_one_line_at_once(monkeypatch, tmp_path, arguments):
    monkeypatch.setenv("HTTP_PORT", str(free_port()))
    monkeypatch.setenv("DB_HOST", "127.0.0.1")
    monkeypatch.setenv("QUESTLINE_DATA_DIR", str(tmp_path))

    answer = run(*arguments)

    assert isinstance(answer.exception, ReceiverUnavailableError)
    assert "is `questline up` running?" in str(answer.exception)


def test_watching_goes_on_until_ctrl_c(receiver):
    receiver.answer = (200, PROGRESS)
    command = [sys.executable, "-m", "cli", "progress", "ada", "--watch"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(receiver.calls) >= 2)

    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=20)

    assert watching.returncode == 130
    assert "Traceback" not in said


def test_a_load_that_grpc_would_ignore_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("AB_NAMESPACE", "mygame")
    monkeypatch.setenv("DB_HOST", "127.0.0.1")
    monkeypatch.setenv("QUESTLINE_DATA_DIR", str(tmp_path))

    answer = run("load-test", "--events", "10", "--grpc")

    assert isinstance(answer.exception, ConfigurationError)
    assert "AB_NAMESPACE is mygame" in str(answer.exception)


def test_a_load_needs_to_know_the_database(monkeypatch, tmp_path):
    monkeypatch.setenv("QUESTLINE_DATA_DIR", str(tmp_path))

    answer = run("load-test", "--events", "10")

    assert isinstance(answer.exception, PermanentError)
    assert "questline up" in str(answer.exception)
