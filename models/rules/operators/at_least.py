"""``at_least``: some of other goals and rules; ``composites.py`` says how."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ValidationInfo, field_validator

from models.rules.composites import Composite, GroupShape
from models.rules.forms.values import whole


class AtLeastShape(GroupShape):
    """Some of other goals and rules."""

    op: Literal["at_least"]
    k: Annotated[int, whole(1)]
    """How many of the parts."""

    @field_validator("k")
    @classmethod
    def _reachable(cls, k: int, info: ValidationInfo) -> int:
        parts = info.data.get("of")
        if parts is not None and k > len(parts):
            raise ValueError(f"can never be reached: it is {k}, but there are {len(parts)} parts")
        return k


@dataclass(frozen=True, kw_only=True, slots=True)
class AtLeast(Composite):
    """Some of other goals and rules."""

    op = "at_least"
    shape = AtLeastShape
    example = "at_least(2, [course-a, course-b, course-c])"
    terminal = "AT_LEAST"

    @classmethod
    def target_of(cls, shape: Any) -> float:
        k: int = shape.k
        return k

    def options(self) -> dict[str, Any]:
        return {"k": int(self.target)}
