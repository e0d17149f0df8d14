"""``any``: any of other goals and rules; ``composites.py`` says how."""

from dataclasses import dataclass
from typing import Any, Literal

from models.rules.composites import Composite, GroupShape


class AnyOfShape(GroupShape):
    """Any of other goals and rules."""

    op: Literal["any"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AnyOf(Composite):
    """Any of other goals and rules."""

    op = "any"
    shape = AnyOfShape
    example = "any([course-a, count(lesson.completed) >= 50])"

    @classmethod
    def target_of(cls, shape: Any) -> float:
        return 1
