"""Columns as PostgreSQL array literals: one parameter a column, whatever the number of rows.

psycopg2 would spell a list as ``ARRAY['a', 'b', ...]``, which the server parses as one expression for each element;
a literal is read by the column type's own input function at a fraction of the cost (see ``benchmarks/README.md``).
Syntax: PostgreSQL documentation, section 8.15.6, "Array Input and Output Syntax".
"""

from collections.abc import Sequence
from typing import Any


def array_literal(values: Sequence[Any]) -> str:
    """The literal of a one-dimensional array of numbers, texts and Nones."""
    return "{" + ",".join([_element(value) for value in values]) + "}"


def _element(value: Any) -> str:
    if isinstance(value, str):
        if "\\" in value or '"' in value:
            value = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{value}"'
    return "NULL" if value is None else str(value)
