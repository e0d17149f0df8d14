"""Authentication, rate limits, and addresses of an installation without keys."""

from collections.abc import Callable
from functools import cache
from math import ceil
from time import time

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from config.loopback import is_loopback
from config.settings import Settings
from models.access.api_keys import ApiKey, KeyStore
from models.access.callers import ANYBODY, Caller, Refused
from models.database.api_keys import read_key_store
from models.database.connection import connect_database
from models.declarations.metrics import REQUESTS_REFUSED
from models.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    RateLimitedError,
    RetryableError,
    UnauthenticatedError,
)
from models.state.api_keys import KeyStoreCopy
from models.state.connection import connect_state
from models.state.metrics import Metrics
from web.authentication.key_poller import KeysWatcher


class ApiKeyAuthenticator:
    """Finds the caller of a key. An installation without keys that listens on loopback admits every caller."""

    def __init__(self, watcher: KeysWatcher, metrics: Metrics, settings: Settings, now_us: Callable[[], int]) -> None:
        self._watcher = watcher
        self._metrics = metrics
        self._open_without_keys = is_loopback(settings.http_host)
        self._limits = RateLimits(settings.rate_limit)
        self._now_us = now_us

    def admit(self, shown: str | None) -> Caller:
        """The caller that shows this key, or none; raises what ``web.authentication.middleware.Authenticator`` says."""
        key_store = self._watcher.key_store()
        if key_store.is_empty and self._open_without_keys:
            return ANYBODY
        try:
            key = self._checked(key_store, shown)
        except UnauthenticatedError:
            self._metrics.count(REQUESTS_REFUSED, label=Refused.UNAUTHENTICATED)
            raise
        try:
            self._limits.spend(key)
        except RateLimitedError:
            self._metrics.count(REQUESTS_REFUSED, label=Refused.RATE_LIMITED)
            raise
        return key.caller

    def owner(self, shown: str | None) -> str | None:
        """Whose share a request is of; counts nothing, for the request is not let in yet."""
        try:
            key_store = self._watcher.key_store()
        except RetryableError:
            return ""
        if key_store.is_empty and self._open_without_keys:
            return None
        try:
            return key_store.check(shown or "", self._now_us()).tenant_id
        except UnauthenticatedError:
            return ""

    def denied(self) -> None:
        """Count a request that its caller's key did not allow."""
        self._metrics.count(REQUESTS_REFUSED, label=Refused.DENIED)

    def crowded_out(self) -> None:
        """Count a request that was one too many of its tenant."""
        self._metrics.count(REQUESTS_REFUSED, label=Refused.TENANT_BUSY)

    def _checked(self, key_store: KeyStore, shown: str | None) -> ApiKey:
        if shown is None:
            raise UnauthenticatedError("an API key is required: send it as `Authorization: Bearer KEY` or `X-API-Key`")
        now = self._now_us()
        key = key_store.check(shown, now)
        self._watcher.used(key.key_id, now)
        return key


class RateLimits:
    """How many requests a second each key may make of this receiver; a sliding window, two counters a key."""

    def __init__(self, per_second: int | None) -> None:
        """``per_second`` holds for keys without a limit of their own; None does not limit them."""
        self._per_second = per_second
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def spend(self, key: ApiKey) -> None:
        """Count one request of a key.

        Raises:
            RateLimitedError: it has none left for now.
        """
        amount = key.rate_limit or self._per_second
        if amount is None or self._limiter.hit(_limit(amount), key.key_id):
            return
        reset = self._limiter.get_window_stats(_limit(amount), key.key_id).reset_time
        wait = max(1, ceil(reset - time()))
        raise RateLimitedError(f"this key may make {amount} requests a second; try again in {wait} s", wait)


@cache
def _limit(per_second: int) -> RateLimitItem:
    return RateLimitItemPerSecond(per_second)


def require_keys(settings: Settings, key_store: KeyStore) -> None:
    """Refuse to listen where others can come while there is no key.

    Raises:
        ConfigurationError: ``HTTP_HOST`` is not loopback, and there is no key.
    """
    if key_store.is_empty and not is_loopback(settings.http_host):
        raise ConfigurationError(
            f"HTTP_HOST: {settings.http_host} lets others in, and there is no API key: make one with `questline keys "
            "create --tenant TENANT --scope admin` first (where nothing runs yet: start on 127.0.0.1 and make it), or "
            "listen on 127.0.0.1"
        )


def watch_keys(settings: Settings, watcher: KeysWatcher) -> None:
    """The watcher's first look and its start, before a receiver listens.

    On loopback PostgreSQL may be away: until the keys are known, every request is answered 503.

    Raises:
        ConfigurationError: ``HTTP_HOST`` is not loopback, and there is no key.
        DatabaseUnavailableError: ``HTTP_HOST`` is not loopback, and whether there is a key is not known.
    """
    try:
        watcher.refresh()
    except DatabaseUnavailableError:
        if not is_loopback(settings.http_host):
            _require_known(settings, watcher.key_store)
    else:
        require_keys(settings, watcher.key_store())
    watcher.start()


def check_address(settings: Settings) -> None:
    """``require_keys`` for a process that asks for no keys itself; on loopback it asks no server.

    Raises:
        ConfigurationError: ``HTTP_HOST`` is not loopback, and there is no key.
        DatabaseUnavailableError: ``HTTP_HOST`` is not loopback, and whether there is a key is not known.
    """
    if not is_loopback(settings.http_host):
        _require_known(settings, lambda: _key_store(settings))


def _require_known(settings: Settings, key_store: Callable[[], KeyStore]) -> None:
    try:
        known = key_store()
    except RetryableError as error:
        raise DatabaseUnavailableError(
            f"HTTP_HOST is {settings.http_host}, and whether there is an API key is not known: {error}"
        ) from error
    require_keys(settings, known)


def _key_store(settings: Settings) -> KeyStore:
    engine = connect_database(settings.database_url, application="questline-keys")
    redis = connect_state(settings.state)
    try:
        return read_key_store(engine)
    except DatabaseUnavailableError:
        copied = KeyStoreCopy(redis).read()
        if copied is None:
            raise
        return copied.key_store
    finally:
        engine.dispose()
        redis.close()
