"""What a fault is: something done to an installation, and the way it is healed."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from tools.chaos.installation import Installation

Heal = Callable[[], bool]
"""Ends a fault, whether or not it had taken hold; tells whether it had."""


class Category(StrEnum):
    """Faults of one category follow one another; those of different categories meet."""

    PROCESSES = "processes"
    SERVERS = "servers"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault by its name. ``strike`` draws what is left open, such as which worker, and returns at once or soon."""

    name: str
    category: Category
    hold: tuple[float, float]
    """The least and the most seconds until it is healed."""
    strike: Callable[[Installation, Random], Heal]


def done() -> bool:
    """Heals what needs no healing: the supervisor does it, or it was over at once."""
    return True


def missed() -> bool:
    """Heals what never struck: the process was just being started again."""
    return False
