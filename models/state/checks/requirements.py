"""What a Redis must be and allow before a process works with it.

What waiting does not mend is said in one line.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from typing import NamedTuple

import structlog
from redis import Redis
from redis.connection import SSLConnection
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from config.redis_urls import without_login
from config.settings import Settings
from models.errors import ConfigurationError, NotReadyError
from models.state.connection import connect_state
from models.state.server.rights import STATE_COMMANDS, Command, broker_commands, missing_rights
from models.state.server.servers import RedisServer, ReplicaGivenError, UnfitServerError
from models.state.server.tls_faults import speaks_plain, speaks_tls, tls_fault

REPLICA_PATIENCE = timedelta(seconds=20)
"""How long a process waits at its start for a replica to become the master: a failover may be under way."""
_TIMEOUT_S = 2.0
_PAUSE_S = 0.5
_FRESH_S = 10.0
_RULES = "docs/how-to/use-your-redis.md has all rules that a user needs"

log = structlog.get_logger()


class RedisUse(NamedTuple):
    """A Redis, and what it is used for."""

    setting: str
    url: str
    commands: Sequence[Command]
    """What its user must be allowed to do."""


def redis_uses(settings: Settings) -> list[RedisUse]:
    """The Redis servers of an installation; one where the broker is the state Redis.

    Raises:
        ConfigurationError: a URL cannot be read.
    """
    try:
        of_broker = broker_commands(RedisServer(settings.broker).database)
    except ValueError as error:
        raise ConfigurationError("BROKER_URL: an option of it has a wrong value") from error
    if settings.broker == settings.state:
        setting = "BROKER_URL" if settings.broker_url else "STATE_URL"
        return [RedisUse(setting, settings.broker, (*STATE_COMMANDS, *of_broker))]
    return [
        RedisUse("STATE_URL", settings.state, STATE_COMMANDS),
        RedisUse("BROKER_URL", settings.broker, of_broker),
    ]


def require_redis(settings: Settings, *, patience: timedelta = REPLICA_PATIENCE) -> None:
    """Refuse servers that can never do. One that does not answer is no fault of the settings: it may come.

    Raises:
        ConfigurationError: one line that names the setting and what is wrong.
    """
    for use in redis_uses(settings):
        deadline = time.monotonic() + patience.total_seconds()
        while isinstance(fault := _fault(use), ReplicaGivenError) and time.monotonic() < deadline:
            log.warning("redis_is_a_replica", setting=use.setting)
            time.sleep(_PAUSE_S)
        if fault is not None:
            raise ConfigurationError(f"{use.setting}: {fault}")


def _fault(use: RedisUse) -> Exception | None:
    try:
        with closing(connect_state(use.url, socket_timeout=_TIMEOUT_S)) as client:
            return unfitness(client, use)
    except ValueError:
        # From None: the URL holds a password, and the error may show a part of it.
        raise ConfigurationError(f"{use.setting}: is no Redis URL") from None


def unfitness(client: Redis, use: RedisUse) -> Exception | None:
    """Why a server will not do however long one waits; ``None`` also where it does not answer."""
    try:
        client.ping()
        missing = missing_rights(client, use.commands)
    except UnfitServerError as error:
        return error
    except AuthenticationError:
        return _unfitness_without_login(use)
    except RedisError as error:
        return _tls_fault(error, client)
    except OSError:
        return None
    return MissingRightsError(missing) if missing else None


class TlsFaultError(Exception):
    """We and the server do not come to terms over TLS."""


def _tls_fault(error: RedisError, client: Redis) -> TlsFaultError | None:
    if (fault := tls_fault(error)) is not None:
        return TlsFaultError(fault)
    pool = client.connection_pool
    if issubclass(pool.connection_class, SSLConnection):
        if speaks_plain(pool):
            return TlsFaultError("this server speaks no TLS: write redis:// (sentinel:// for Sentinels)")
    elif isinstance(error, RedisConnectionError) and speaks_tls(pool):
        return TlsFaultError("this port speaks TLS: write rediss:// (sentinels:// for Sentinels)")
    return None


def waiting_for(use: RedisUse) -> str | None:
    """Why a server cannot be used yet; ``None`` where it can.

    Raises:
        ConfigurationError: waiting does not help; one line that names the setting.
    """
    fault = _fault(use)
    if fault is None:
        return redis_fault(use.url, setting=use.setting)
    if isinstance(fault, ReplicaGivenError):
        return str(fault)
    raise ConfigurationError(f"{use.setting}: {fault}")


class MissingRightsError(Exception):
    """Our user may not do what the product does."""

    def __init__(self, missing: Sequence[str]) -> None:
        shown = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
        super().__init__(f"its user lacks rights: {shown}; {_RULES}")


def redis_fault(url: str, *, setting: str = "STATE_URL") -> str | None:
    """Why the Redis at this URL cannot be used now; ``None`` where it answers.

    Raises:
        ConfigurationError: the URL, of this setting, cannot be read.
    """
    try:
        with closing(connect_state(url, socket_timeout=2)) as client:
            client.ping()
    except (RedisError, OSError) as error:  # also while it still loads its data
        return str(error)
    except ValueError:
        # From None: the URL holds a password, and the error may show a part of it.
        raise ConfigurationError(f"{setting}: is no Redis URL") from None
    return None


def _unfitness_without_login(use: RedisUse) -> Exception | None:
    """A Sentinel has no password or another one than its servers: it says what it is before it asks for one."""
    try:
        with closing(connect_state(without_login(use.url), socket_timeout=_TIMEOUT_S)) as client:
            client.ping()
    except UnfitServerError as error:
        return error
    except (RedisError, OSError):
        return None
    return None


class RequirementsCheck:
    """Looks again while a process runs, but not with every question, for each look asks for many rights."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._uses = [(use, connect_state(use.url, socket_timeout=_TIMEOUT_S)) for use in redis_uses(settings)]
        self._clock = clock
        self._asked_at = float("-inf")
        self._faults: list[str] = []

    def __call__(self) -> None:
        """Whether the servers fit and their users may do everything; one that does not answer passes.

        Raises:
            NotReadyError: a line for each that does not, without secrets.
        """
        if self._clock() - self._asked_at > _FRESH_S:
            self._faults = [
                f"{use.setting}: {fault}" for use, client in self._uses if (fault := unfitness(client, use)) is not None
            ]
            self._asked_at = self._clock()
        if self._faults:
            raise NotReadyError("; ".join(self._faults))
