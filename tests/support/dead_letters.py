"""Dead letters for tests."""

import msgpack

from models.database.dead_letters.writer import DeadLetter, insert_dead_letters
from models.database.flush.items import EventRow, ProgressRow
from models.events import pack_batch
from models.rules.rows import Evaluation, Row, Unlock


def batch_dead_letter(*events, reason="evaluation_failed", **more):
    """A dead letter of events that could not be applied."""
    said = {
        "kind": "batch", "reason": reason, "error": "ZeroDivisionError: division by zero\nmore",
        "raw": pack_batch(events),
        "event_ids": [event.event_id for event in events], "tenant_id": events[0].tenant_id,
        "user_id": events[0].user_id, "shard": 1, "batch_id": "b1", "task": "questline.apply_events",
        "exception": "ZeroDivisionError", "traceback": "Traceback: here",
    }  # fmt: skip
    return DeadLetter(**said | more)


def message_dead_letter(raw=b"\x80\x04 no envelope", **more):
    said = {"kind": "message", "reason": "undecodable_message", "error": "not JSON", "raw": raw, "event_ids": []}
    return DeadLetter(**said | more)


def row_dead_letter(kind, item, *, tenant="t1", user="u1"):
    """A dead letter of a row that PostgreSQL refused, packed as the flush packs it."""
    raw = msgpack.packb(item, default=str)
    return DeadLetter(kind, "refused_by_postgresql", "value out of range", raw, [], tenant, user)


def progress_row(*, record_version=5, amount=2, at=1_763_726_400_000_000):
    row = Row("logins", "", "dailies", "count", 1, record_version, 0, at, at, [amount])
    return ProgressRow("t1", "u1", row)


def refused_rows(event, decimal):
    """One row of each kind, as the flush would have written it."""
    at = event.occurred_at
    return {
        "row": progress_row(at=at),
        "event": EventRow(event, 1, 5, at, 0),
        "unlock": Unlock(event, "logins", "", "dailies", 1, at),
        "evaluation": Evaluation(
            event, "logins", "", "dailies", 1, "in_progress", "completed", decimal, decimal + 1, "completed", at
        ),
    }


def store_dead_letters(engine, *dead_letters):
    """Insert dead letters; their ids."""
    with engine.begin() as connection:
        insert_dead_letters(connection, dead_letters)
        found = connection.exec_driver_sql("SELECT id, fingerprint FROM dead_letters").all()
    ids = {bytes(row.fingerprint): row.id for row in found}
    return [ids[dead_letter.fingerprint] for dead_letter in dead_letters]
