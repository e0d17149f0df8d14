"""The JSON form of a rule: that of its operator.

The parts of a composite are only described, for the JSON Schema; ``rule_json.py`` reads them one level after the other.
"""

from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypeAliasType

from models.rules.forms.values import Id, Strict
from models.rules.operators import OPERATORS

SHAPES: dict[str, type[Strict]] = {op: rule.shape for op, rule in OPERATORS.items()}
"""The shape of each operator."""
_ANY: Any = reduce(or_, SHAPES.values())
RuleShape = TypeAliasType("RuleShape", Annotated[_ANY, Field(discriminator="op")])
"""A rule as an object, by its operator."""
for _shape in SHAPES.values():
    _shape.model_rebuild(_types_namespace={"RuleShape": RuleShape, "Id": Id})
