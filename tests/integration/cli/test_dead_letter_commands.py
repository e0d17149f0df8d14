"""``questline dlq`` on a real PostgreSQL."""

import json
import unicodedata
from base64 import b64decode

import pytest
from typer.testing import CliRunner

from cli import app
from models.errors import PermanentError
from models.events import unpack_batch
from tests.support.dead_letters import (
    batch_dead_letter,
    message_dead_letter,
    progress_row,
    row_dead_letter,
    store_dead_letters,
)
from tests.support.environment import database_settings


@pytest.fixture
def run(engine, database_url, tmp_path, monkeypatch):
    """The command line of an installation whose PostgreSQL is the tests'."""
    told = {"QUESTLINE_DATA_DIR": str(tmp_path / "data"), "COLUMNS": "250"}
    for name, value in (database_settings(database_url) | told).items():
        monkeypatch.setenv(name, value)

    def command(*arguments, code=0, said=""):
        answer = CliRunner().invoke(app, ["dlq", *map(str, arguments)], input=said)
        if answer.exception is not None and not isinstance(answer.exception, SystemExit):
            raise answer.exception
        assert answer.exit_code == code, answer.output
        return answer.stdout

    return command


@pytest.fixture
def dead_letters(engine, stack):
    """Two failing events of two users and a message; their ids."""
    events = stack.event(event_id="e1", payload=b'{"a":1}'), stack.event(user="u[2]", tenant="t2", event_id="e2")
    return store_dead_letters(engine, *map(batch_dead_letter, events), message_dead_letter(b"\xff\x00"))


def test_dead_letters_are_listed_filtered_and_grouped(run, dead_letters):
    listed = json.loads(run("list", "--json"))
    assert ([dead_letter["id"] for dead_letter in listed["letters"]], listed["total"]) == (dead_letters[::-1], 3)
    table = run("list", "--tenant", "t2", "--kind", "batch", "--since", "2020-01-01T00:00:00Z", "--id", dead_letters[1])
    assert "u[2]" in table
    assert "1 of 1 dead letters" in table
    assert "0 of 0" in run("list", "--until", "2020-01-01T00:00:00Z")
    groups = json.loads(run("groups", "--json"))
    assert [(group["count"], group["exception"], group["example"]) for group in groups] == [
        (2, "ZeroDivisionError", dead_letters[1]), (1, None, dead_letters[2]),
    ]  # fmt: skip
    assert "3 dead letters of 2 causes" in run("groups")


def test_one_dead_letter_is_shown_whole_and_a_wrong_id_is_said(run, dead_letters, engine):
    shown = run("show", dead_letters[0])
    assert all(
        part in shown for part in ("Traceback: here", '"a": 1', "2026-11-21T12:00:00+00:00", "evaluation_failed")
    )
    assert "/wA=" in run("show", dead_letters[2])
    (row,) = store_dead_letters(engine, row_dead_letter("row", progress_row()))
    assert json.loads(run("show", row, "--json"))["contents"]["row"]["goal_id"] == "logins"
    with pytest.raises(PermanentError, match="there is no dead letter 999"):
        run("show", 999)


@pytest.mark.parametrize("words", [("show", 1), ("list",), ("groups",)])
@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_nothing_that_a_sender_wrote_commands_the_terminal(run, engine, stack, words, as_json):
    event = stack.event(user="u\x9b1m", payload='{"a":"\\u001b]0;x\\u0007\x9b2J"}'.encode())
    dead_letter = batch_dead_letter(event)._replace(error="\x1b[31m\x9b2J\x7f", traceback="one\n\ttwo\x9b\r")
    (letter_id,) = store_dead_letters(engine, dead_letter)
    shown = run(*(letter_id if word == 1 else word for word in words), *as_json)
    assert not [one for one in shown if unicodedata.category(one) == "Cc" and one not in "\n\t"]
    assert ("\\u009b2J" if as_json else "\\x9b2J") in shown
    if words == ("show", 1) and not as_json:
        assert "one\n\ttwo\\x9b" in shown
    if as_json:
        assert "\\x1b[31m\\x9b2J\\x7f" in repr(json.loads(shown))  # what was written is what a program reads
    assert "\x9b" not in run("export")


def test_dead_letters_are_exported_with_their_bytes(run, dead_letters, tmp_path):
    lines = [json.loads(line) for line in run("export").splitlines()]
    assert [line["id"] for line in lines] == dead_letters
    assert unpack_batch(b64decode(lines[0]["raw"]))[0].event_id == lines[0]["contents"][0]["event_id"] == "e1"
    assert (b64decode(lines[2]["raw"]), lines[2]["contents"]) == (b"\xff\x00", None)
    run("export", "--limit", 2, "--output", tmp_path / "dead_letters.jsonl")
    assert len((tmp_path / "dead_letters.jsonl").read_text().splitlines()) == 2


def test_discarding_many_asks_first(run, dead_letters, stack):
    assert "would delete 3" in run("discard", "--dry-run")
    run("discard", code=1, said="n\n")
    run("discard", code=1)  # nobody answers
    assert stack.count("dead_letters") == 3
    run("discard", "--id", dead_letters[0])
    assert json.loads(run("discard", "--limit", 1, "--json")) == {"discarded": 1, "dry_run": False}
    assert [dead_letter["id"] for dead_letter in json.loads(run("list", "--json"))["letters"]] == dead_letters[2:]
    store_dead_letters(stack.engine, *(message_dead_letter(bytes([n])) for n in range(3)))
    assert "deleted 4" in run("discard", "--kind", "message", "--yes")


@pytest.mark.parametrize("wrong", [("--kind", "x"), ("--since", "yesterday"), ("--shard", -1), ("--id", 0)])
def test_a_wrong_option_is_refused(run, wrong):
    run("list", *wrong, code=2)
