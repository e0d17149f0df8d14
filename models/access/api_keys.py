"""API keys: their form, and the key store that a shown key is checked against.

A key is ``ql_<id>_<secret>``. The id names it everywhere; the secret is 256 random bits, shown once, of which only
the SHA-256 is kept. A slow hash, as passwords need, would add nothing: there is no list of likely secrets to try, and
2^256 cannot be searched at any speed; but every request would pay for it.
"""

import secrets
from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple, Self

import msgpack

from models.access.callers import Caller, Scope
from models.errors import UnauthenticatedError

KEY_PREFIX = "ql"
_ID_BYTES = 6
_SECRET_BYTES = 32
_LONGEST = 200
"""Characters of a shown key that are looked at; no key of ours is as long."""
_NOBODY = secrets.token_bytes(32)
"""What a secret with an unknown id is compared with, so that the answer takes as long as for a known one."""


class NewKey(NamedTuple):
    """A key that was just drawn: the only time at which its secret is known."""

    key_id: str
    text: str
    """The whole key, as its owner keeps it."""
    secret_hash: bytes


class ApiKey(NamedTuple):
    """A key as the installation keeps it. Times are in microseconds since the epoch."""

    key_id: str
    tenant_id: str
    scope: Scope
    secret_hash: bytes
    rate_limit: int | None = None
    """Requests a second; None where only ``RATE_LIMIT`` bounds it."""
    expires_at: int | None = None
    revoked_at: int | None = None

    @property
    def caller(self) -> Caller:
        """The caller that shows this key."""
        return Caller(self.key_id, self.tenant_id, self.scope)

    def fault(self, now_us: int) -> str | None:
        """Why the key is not valid at ``now_us``; None where it is."""
        if self.revoked_at is not None:  # at once, whatever our clock says
            return "is revoked"
        if self.expires_at is not None and self.expires_at <= now_us:
            return "has expired"
        return None


class KeyStore:
    """Every key of the installation, as it stood at one time. Never changed, so safe to share between threads."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self.keys = tuple(keys)
        self._by_id = {key.key_id: key for key in self.keys}

    @property
    def is_empty(self) -> bool:
        """No key was ever made, so none is asked for."""
        return not self.keys

    def check(self, shown: str, now_us: int) -> ApiKey:
        """The key that was shown, valid at ``now_us``.

        Takes the same steps for a known and an unknown id, and compares in constant time.

        Raises:
            UnauthenticatedError: it is none of ours, or no longer valid.
        """
        key_id, secret = _parts(shown)
        key = self._by_id.get(key_id)
        same = compare_digest(hash_secret(secret), _NOBODY if key is None else key.secret_hash)
        if key is None or not same:
            raise UnauthenticatedError("the API key is not valid")
        fault = key.fault(now_us)
        if fault is not None:  # said only to a caller that knows the secret
            raise UnauthenticatedError(f"the API key {key.key_id} {fault}")
        return key

    def pack(self) -> bytes:
        """The key store as bytes; hashes, no secrets."""
        packed: bytes = msgpack.packb([tuple(key) for key in self.keys])
        return packed

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """The key store that ``pack`` wrote."""
        return cls(ApiKey(*fields) for fields in msgpack.unpackb(packed))


def draw_key() -> NewKey:
    """A new key from the operating system's source of randomness."""
    key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    return NewKey(key_id, f"{KEY_PREFIX}_{key_id}_{secret}", hash_secret(secret))


def hash_secret(secret: str) -> bytes:
    """What is kept of a secret; the module says why this hash is the right one."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _parts(shown: str) -> tuple[str, str]:
    """Id and secret of a shown key; empty where it is not written like one. The secret may hold '_'."""
    prefix, _, rest = shown[:_LONGEST].partition("_")
    key_id, _, secret = rest.partition("_")
    return (key_id, secret) if prefix == KEY_PREFIX else ("", "")
