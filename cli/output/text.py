"""What others wrote, made fit for a terminal: it must not move the cursor, change the title, hide or reorder a line."""

import json
import re
from typing import Any
from unicodedata import category

_SUSPECT = re.compile(r"[^\x20-\x7e\n\t]")
_LEFT_BY_JSON = re.compile(r"[^\x00-\x7e]")
# Controls; formats, such as those that turn the direction of a text or have no width; halves of surrogate pairs; and
# separators of lines.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Dead letters and marks that nothing is shown of. U+FE0F stays: it makes a sign an emoji.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0e\uffa0\U000e0100-\U000e01ef]")
_TWO_DIGITS, _FOUR_DIGITS = 0xFF, 0xFFFF


def escaped(text: str) -> str:
    """The text with every control and invisible character but newline and tab spelled by its hexadecimal number."""
    return _SUSPECT.sub(lambda found: _spelled(found[0]) if _is_unseen(found[0]) else found[0], text)


def json_text(data: Any, **options: Any) -> str:
    """The data as JSON with all control and invisible characters escaped; other characters stay readable."""
    # What JSON leaves as it is can only stand inside its strings, where an escape means the same.
    text = json.dumps(data, ensure_ascii=False, **options)
    return _LEFT_BY_JSON.sub(lambda found: json.dumps(found[0])[1:-1] if _is_unseen(found[0]) else found[0], text)


def _is_unseen(character: str) -> bool:
    return category(character) in _UNSEEN or _BLANK.match(character) is not None


def _spelled(character: str) -> str:
    number = ord(character)
    if number <= _TWO_DIGITS:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= _FOUR_DIGITS else f"\\U{number:08x}"
