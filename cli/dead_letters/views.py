"""How dead letters look on a terminal and as JSON."""

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from api.dead_letters.contents import contents_of
from models.database.dead_letters.reader import DeadLetterGroup, DeadLetterHead, StoredDeadLetter

_ERROR_SHOWN = 100
_WHOLE = frozenset({"Id", "Dead letters", "Example", "Last seen", "First and last seen"})
"""Columns that are not wrapped, however narrow the terminal."""


def head_data(head: DeadLetterHead) -> dict[str, Any]:
    """A dead letter as JSON, without its bytes."""
    return head._asdict() | {"first_seen": head.first_seen.isoformat(), "last_seen": head.last_seen.isoformat()}


def dead_letter_data(dead_letter: StoredDeadLetter) -> dict[str, Any]:
    """A dead letter as JSON, with all that is known of it; the bytes as base64."""
    return head_data(dead_letter.head) | {
        "traceback": dead_letter.traceback,
        "contents": contents_of(dead_letter.head.kind, dead_letter.raw),
        "raw": b64encode(dead_letter.raw).decode(),
    }


def dead_letter_text(dead_letter: StoredDeadLetter) -> str:
    """A dead letter for people: its facts, its traceback, and what it holds."""
    facts = head_data(dead_letter.head)
    width = max(map(len, facts))
    lines = [f"{name:<{width}}  {_shown(value)}" for name, value in facts.items()]
    if dead_letter.traceback:
        lines += ["", "traceback", dead_letter.traceback.rstrip()]
    contents = contents_of(dead_letter.head.kind, dead_letter.raw)
    if contents is None:
        return "\n".join([*lines, "", "bytes, as base64", b64encode(dead_letter.raw).decode()])
    return "\n".join([*lines, "", "contents", json.dumps(contents, indent=2, ensure_ascii=False)])


def dead_letters_table(heads: Sequence[DeadLetterHead]) -> Table:
    """Dead letters in rows."""
    table = _table("Id", "Last seen", "Cause", "Whose", "Error")
    for head in heads:
        whose = Text(f"{head.tenant_id or '-'}\n{head.user_id or '-'}")
        table.add_row(str(head.id), _time(head.last_seen), _cause(head), whose, _error(head.exception, head.error))
    return table


def groups_table(groups: Sequence[DeadLetterGroup]) -> Table:
    """Causes in rows."""
    table = _table("Dead letters", "First and last seen", "Cause", "Example", "Error")
    for group in groups:
        seen = f"{_time(group.first_seen)}\n{_time(group.last_seen)}"
        example, error = str(group.example), _error(group.exception, group.error)
        table.add_row(str(group.number), seen, _cause(group), example, error)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in _WHOLE)
    return table


def _cause(found: DeadLetterHead | DeadLetterGroup) -> Text:
    """Kind, reason and task; as Text, because what comes from outside is no markup of Rich's."""
    return Text("\n".join(filter(None, (f"{found.kind} {found.reason}", found.task))))


def _error(exception: str | None, error: str) -> Text:
    """The exception and the first line of what it said."""
    line = error.partition("\n")[0][:_ERROR_SHOWN]
    return Text(line if exception is None or line.startswith(exception) else f"{exception}: {line}")


def _time(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) or "-" if isinstance(value, list) else str(value)
