"""The scripts with the names that operators have for their numbers."""

from models.rules.operators import OPERATORS
from models.rules.rule import Rule
from models.state.lua_source import script_source
from models.wire import Node


def script_text(name: str) -> str:
    """The text of any script as Redis gets it.

    Raises:
        ValueError: as ``script_source``.
    """
    return script_source(name, operator_constants())


def operator_constants() -> dict[str, int]:
    """What the Lua of operators calls their numbers: ``Streak.grace``, ``Composite.within``."""
    found: dict[str, int] = {}
    for cls in {cls for operator in OPERATORS.values() for cls in operator.__mro__ if issubclass(cls, Rule)}:
        numbers = {name: Node._fields.index(field) + 1 for name, field in cls.numbers_of_lua.items()}
        found |= {f"{cls.__name__}.{name}": number for name, number in (numbers | dict(cls.limits_of_lua)).items()}
    return found
