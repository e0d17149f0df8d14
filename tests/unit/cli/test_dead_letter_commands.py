"""``questline dlq redrive``: page by page through the receiver."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import app
from cli.client.http import Answer
from cli.dead_letters.redrive import PAGE, _ask
from cli.dead_letters.views import dead_letters_table, groups_table
from models.errors import ReceiverUnavailableError

REFUSED = {"id": 7, "code": "too_old", "reason": "1 of 1 events, the first e1: occurred_at is older"}
DONE = {"redriven": 3, "refused": [], "skipped": 1, "left": 0, "next": None}


def redrive(*arguments):
    return CliRunner().invoke(app, ["dlq", "redrive", *map(str, arguments)])


def test_pages_follow_each_other_until_the_last(monkeypatch, tmp_path):
    answers = [DONE | {"redriven": 19, "left": 4, "next": 20}, DONE | {"refused": [REFUSED]}]
    asked: list[Any] = []

    def answer(_method, _url, body, *, key):
        asked.append(body)
        return Answer(200, answers[len(asked) - 1])

    monkeypatch.setenv("QUESTLINE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("cli.dead_letters.redrive.call", answer)
    said = redrive("--tenant", "t1", "--since", "2026-11-21T00:00:00Z", "--json")
    assert said.exit_code == 1
    assert json.loads(said.stdout) == {"redriven": 22, "refused": [REFUSED], "skipped": 2, "left": 0}
    same = {"tenant_id": "t1", "since": "2026-11-21T00:00:00+00:00", "dry_run": False, "limit": PAGE}
    assert asked == [same | {"cursor": cursor} for cursor in (None, 20)]


def test_what_was_done_is_said(receiver):
    receiver.answer = (200, DONE | {"left": 5, "next": 9})
    answer = redrive("--limit", 4, "--dry-run", "--id", 3)
    assert answer.exit_code == 0
    assert answer.stdout.splitlines() == [
        "3 dead letters would be redriven",
        "1 are messages, which cannot be redriven: their events are in the journal anyway",
        "5 are left",
    ]
    assert receiver.calls[0][2] == {"ids": [3], "dry_run": True, "limit": 4, "cursor": None}


def test_a_full_journal_is_waited_for_but_not_for_ever(receiver, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(_ask.retry, "sleep", waits.append)
    receiver.answer = (503, {"detail": "PostgreSQL lacks too much"})
    answer = redrive()
    assert isinstance(answer.exception, ReceiverUnavailableError)
    assert "PostgreSQL lacks too much" in str(answer.exception)
    assert len(receiver.calls) == len(waits) + 1 == 30


def test_nobody_there_is_said_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("HTTP_PORT", "1")
    monkeypatch.setenv("QUESTLINE_DATA_DIR", str(tmp_path))
    with pytest.raises(ReceiverUnavailableError, match="no answer"):
        raise redrive().exception


def test_numbers_and_times_are_not_wrapped():
    whole = [
        [column.header for column in table([]).columns if column.no_wrap]
        for table in (dead_letters_table, groups_table)
    ]
    assert whole == [["Id", "Last seen"], ["Dead letters", "First and last seen", "Example"]]
