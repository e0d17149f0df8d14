"""A challenges file with its rules in the other form, and all else as it stands."""

import json
from typing import Any, Literal

from models.errors import InvalidChallengesError
from models.rules.challenge_file.faults import Fault, render
from models.rules.challenge_file.json_text import JsonTextError, Path, decode_json, read_json, spans
from models.rules.challenge_file.rule_parser import read_rule
from models.rules.challenge_file.rule_text import expression_of, json_of
from models.rules.rule import Rule

Form = Literal["expression", "json"]

_WIDTH = 120


def rewrite_rules(text: bytes | str, file: str, form: Form) -> str:
    """The file with every ``rule`` of a goal in one form; goals of the three types have none and stay.

    Raises:
        InvalidChallengesError: the file is not JSON, or a rule cannot be read. What else is wrong does not matter.
    """
    try:
        read = text if isinstance(text, str) else decode_json(text)
        root = read_json(read)
    except JsonTextError as error:
        raise InvalidChallengesError([f"{file}: {error}"]) from error
    faults: list[Fault] = []
    made, copied = [], 0
    for path, start, end in sorted(spans(read), key=lambda span: span[1]):
        if not _is_rule(path) or start < copied:
            continue
        reading = read_rule(json.loads(read[start:end]))
        faults += [fault._replace(path=(*path, *fault.path)) for fault in reading.faults]
        if reading.rule is not None:
            made += [read[copied:start], _written(reading.rule, form, read[read.rfind("\n", 0, start) + 1 : start])]
            copied = end
    if faults:
        raise InvalidChallengesError(render(file, root, faults))
    return "".join(made) + read[copied:]


def _is_rule(path: Path) -> bool:
    return len(path) == 5 and (path[0], path[2], path[4]) == ("challenges", "goals", "rule")


def _written(rule: Rule, form: Form, before: str) -> str:
    """The rule as JSON text, behind what stands before it on its line."""
    if form == "expression":
        return json.dumps(expression_of(rule), ensure_ascii=False)
    indent = before[: len(before) - len(before.lstrip())]
    return _json(json_of(rule), indent, _WIDTH - len(before))


def _json(value: Any, indent: str, room: int) -> str:
    """A value on one line where there is room for it, else with a line for each of its parts."""
    inline = json.dumps(value, ensure_ascii=False)
    if len(inline) < room or not isinstance(value, dict | list):
        return inline
    deeper = f"{indent}  "
    named = value.items() if isinstance(value, dict) else (("", part) for part in value)
    heads = [(f"{json.dumps(key, ensure_ascii=False)}: " if key else "", part) for key, part in named]
    lines = [f"{deeper}{head}{_json(part, deeper, _WIDTH - len(deeper) - len(head))}" for head, part in heads]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return "\n".join([opening, ",\n".join(lines), f"{indent}{closing}"])
