"""The JSON Schema of a challenges file, generated from its shapes.

It says less than the parser: links between goals, limits and expressions are beyond it.
"""

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from models.rules.challenge_file.shapes import FileShape


class _Schema(GenerateJsonSchema):
    """Without a title for each key: they would only repeat the key."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def schema_text() -> str:
    """The schema (draft 2020-12) as the text of ``config/challenges.schema.json``."""
    described = FileShape.model_json_schema(schema_generator=_Schema)
    head = {"$schema": GenerateJsonSchema.schema_dialect, "title": "Questline challenges"}
    described["description"] = "Challenges and their goals, as Questline reads them."
    return json.dumps(head | {key: described[key] for key in described if key != "title"}, indent=2) + "\n"
