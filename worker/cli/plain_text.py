"""What others wrote, made fit for a terminal: it must not move the cursor, change the title or hide a line."""

import json
import re
from typing import Any

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LEFT_BY_JSON = re.compile(r"[\x7f-\x9f]")


def escaped(text: str) -> str:
    """The text with every control character but newline and tab spelled by its hexadecimal number."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def json_text(data: Any, **options: Any) -> str:
    """The data as JSON with all control characters escaped; other characters stay readable."""
    # What JSON leaves as it is can only stand inside its strings, where an escape means the same.
    text = json.dumps(data, ensure_ascii=False, **options)
    return _LEFT_BY_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
