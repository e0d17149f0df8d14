"""What must not be shown: passwords in URLs."""

import re

MASK = "****"
# The password ends at the last "@" before white space: drivers read it so, and a password that was pasted without
# quoting may hold one. A quotation mark ends it only where it closes a quoted URL, and not before the first "@".
_QUOTED = r"""(?:[^\s'"]|['"](?![\s,:;}\])]|$))"""
_CREDENTIALS = re.compile(
    rf"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s:/@]*):(?P<password>(?:{_QUOTED}*|\S*))@"
)
_QUERY = re.compile(rf"(?P<name>[?&][A-Za-z_]*password=)(?:(?!&){_QUOTED})*", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """The text with ``****`` instead of the password of every URL in it."""
    if "://" not in text:
        return text
    return _QUERY.sub(rf"\g<name>{MASK}", _CREDENTIALS.sub(rf"\g<scheme>\g<user>:{MASK}@", text))
