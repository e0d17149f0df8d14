"""The operators, one file each: ``<name>.py`` has all of an operator but its Lua, ``lua/apply/operators/<name>.lua``.

They are found by listing this folder. CONTRIBUTING.md says how to add one.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any

from models.rules.rule import Rule
from models.wire import Row


def _found() -> Iterator[type[Rule]]:
    for module in iter_modules(__path__):
        values = vars(import_module(f"{__name__}.{module.name}")).values()
        yield from (one for one in values if isinstance(one, type) and getattr(one, "op", "") == module.name)


OPERATORS: Mapping[str, type[Rule]] = MappingProxyType({one.op: one for one in _found()})
"""The class of rules of each operator, by its name."""


def make_rule(op: str, **said: Any) -> Rule:
    """A rule of an operator.

    Raises:
        KeyError: there is no such operator.
        TypeError: it has no such option.
    """
    return OPERATORS[op](**said)


def progress_of(row: Row) -> int | float | Decimal:
    """The number a row shows: an int when it is whole."""
    return OPERATORS.get(row.operator, Rule).progress(row.state)
