"""What must not be shown: passwords in URLs."""

import re

MASK = "****"
# The password ends at the last "@" before the path: drivers read it so, and a password that was pasted without quoting
# may hold one. It may not hold white space or quotes, so that a match in a sentence ends with its URL.
_CREDENTIALS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s:/@'\"]*):(?P<password>[^\s'\"]*)@")


def without_passwords(text: str) -> str:
    """The text with ``****`` in the place of the password of every URL in it."""
    return _CREDENTIALS.sub(rf"\g<scheme>\g<user>:{MASK}@", text) if "://" in text else text
