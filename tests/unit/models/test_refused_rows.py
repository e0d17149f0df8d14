"""Rows that PostgreSQL refused come back out of their dead letters as they were."""

from decimal import Decimal

import pytest

from api.dead_letters.contents import contents_of
from models.database.flush.refused_rows import ROW_KINDS, read_refused
from models.database.flush.tables import TABLES
from models.errors import MalformedDeadLetterError
from models.events import Event
from tests.support.dead_letters import refused_rows

EVENT = Event(
    "e1", "login", "t1", "u1", 1_762_770_600_000_000, 1_762_770_600_000_001, 2.5, None, "app", b'{"a":1}', "UTC"
)


@pytest.mark.parametrize("number", [Decimal("12345678901234567890.000000001"), Decimal(7), 3, 0.5])
@pytest.mark.parametrize("kind", sorted(ROW_KINDS))
def test_a_row_survives_its_dead_letter(kind, number):
    table, item = TABLES[kind], refused_rows(EVENT, number)[kind]
    dead_letter = table.dead_letter(item, "no")
    assert dead_letter.kind == kind
    assert table.columns([read_refused(kind, dead_letter.raw)]) == table.columns([item])


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x05", b"\x93\x01\x02\x03", b"\x91\xa1x"])
@pytest.mark.parametrize("kind", sorted(ROW_KINDS))
def test_bytes_that_are_no_row_are_said_to_be_none(kind, raw):
    with pytest.raises(MalformedDeadLetterError):
        read_refused(kind, raw)
    assert contents_of(kind, raw) is None


def test_a_row_is_shown_with_names_times_and_payloads():
    shown = contents_of("event", TABLES["event"].dead_letter(refused_rows(EVENT, 1)["event"], "no").raw)
    assert (shown["event"]["payload"], shown["event"]["occurred_at"]) == ({"a": 1}, "2025-11-10T10:30:00+00:00")
    row = contents_of("row", TABLES["row"].dead_letter(refused_rows(EVENT, 1)["row"], "no").raw)["row"]
    assert (row["goal_id"], row["completed_at"], row["state"]) == ("logins", None, [2])


def test_the_names_of_the_release_before_are_still_shown():
    event = contents_of("event", TABLES["event"].dead_letter(refused_rows(EVENT, 1)["event"], "no").raw)
    row = contents_of("row", TABLES["row"].dead_letter(refused_rows(EVENT, 1)["row"], "no").raw)["row"]
    assert event["stamp"] == event["record_version"]
    assert (row["stamp"], row["slots"]) == (row["record_version"], row["version_states"])
