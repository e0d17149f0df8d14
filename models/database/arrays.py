"""Columns as PostgreSQL array literals: one parameter a column, whatever the number of rows.

psycopg2 would spell a list as ``ARRAY['a', 'b', ...]``, which the server parses as one expression for each element;
a literal is read by the column type's own input function, at half the cost on both sides.
"""

from collections.abc import Sequence

import orjson


def array_literal(values: Sequence[str | float | None]) -> str:
    r"""The literal of a one-dimensional array.

    Within the texts we store, JSON's list and PostgreSQL's literal differ only in their brackets: both quote with
    '"', escape '"' and '\' with '\', and write null as null. They part at control characters, which JSON spells
    with letters and which no text of ours may hold: ids are refused with them, and JSON texts have them escaped.
    Syntax: PostgreSQL documentation, section 8.15.6, "Array Input and Output Syntax".
    """
    return "{" + orjson.dumps(values).decode()[1:-1] + "}"
