"""``all``: all of other goals and rules; ``composites.py`` says how."""

from dataclasses import dataclass
from typing import Any, Literal

from models.rules.composites import Composite, GroupShape


class AllOfShape(GroupShape):
    """All of other goals and rules."""

    op: Literal["all"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AllOf(Composite):
    """All of other goals and rules."""

    op = "all"
    shape = AllOfShape
    example = "all([course-a, course-b], within=30d)"

    @classmethod
    def target_of(cls, shape: Any) -> float:
        return len(shape.of)
