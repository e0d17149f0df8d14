"""Redis URLs as people write them. No fault that is found in one shows any of it: it may be a part of the password."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

_KINDS = ("redis", "rediss", "unix")
_QUOTE = "in a password, write every character but letters, digits, '-' and '_' percent-encoded ('#' is %23)"


def check_redis_url(url: str) -> str:
    """The URL as it came.

    Raises:
        ValueError: no Redis can be reached by it.
    """
    # From None: the errors of urllib show what they could not read.
    try:
        parts = urlsplit(url)
        is_address = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise ValueError(f"is no URL: {_QUOTE}") from None
    if parts.scheme not in _KINDS:
        raise ValueError("is no URL of a Redis, like redis://:PASSWORD@HOST:6379/0 or rediss://…")
    if parts.fragment or any(character.isspace() for character in url):
        raise ValueError(f"holds '#' or a space: {_QUOTE}")
    if parts.scheme != "unix" and not is_address:
        raise ValueError(f"names no server: {_QUOTE}")
    return url


RedisUrl = Annotated[str, AfterValidator(check_redis_url)]
"""A setting that is a Redis URL."""
