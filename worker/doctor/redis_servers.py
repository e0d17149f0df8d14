"""The state Redis and the broker: whether they answer, keep what they are told, and have room."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from redis import Redis

from config.loopback import is_loopback
from models.errors import NotReadyError
from worker.doctor.registry import Installation, Remark, check, error, ok, warning
from worker.receiver.health_checks import write_probe

OLDEST = (7, 0)
"""The command set that scripts keep to."""
_FULL, _NEARLY_FULL = 0.9, 0.7
_KEPT = ("everysec", "always")


@check("redis", "the state Redis and the broker answer and take writes")
def answers(installation: Installation) -> Iterator[Remark]:
    """A write goes through."""
    for name, redis in installation.redises.items():
        try:
            write_probe(redis)
            yield ok(f"{name} takes writes")
        except NotReadyError as fault:
            yield error(f"{name} {fault}", "Start it, give it room, or correct STATE_URL and BROKER_URL.")


@check("redis-version", "Redis 7.0 or newer, or Valkey")
def version(installation: Installation) -> Iterator[Remark]:
    """The server knows the commands that scripts use."""
    for name, redis in installation.redises.items():
        told: Any = redis.info("server")
        kind = "Valkey" if "valkey_version" in told else "Redis"
        number = str(told.get("valkey_version", told["redis_version"]))
        compatible = tuple(int(part) for part in str(told["redis_version"]).split(".")[:2])
        if compatible < OLDEST:
            yield error(f"{name} is {kind} {number}", "Update it to Redis 7.0 or Valkey 8 at least.")
        else:
            yield ok(f"{name} is {kind} {number}")


@check("redis-durability", "the append-only file is on, synced at least every second, and was written well")
def durability(installation: Installation) -> Iterator[Remark]:
    """What is answered is on its way to the disk."""
    for name, redis in installation.redises.items():
        if _configured(redis, "appendonly") != "yes":
            yield error(
                f"{name} has no append-only file: whatever is accepted is lost when it stops",
                "Set `appendonly yes` in its configuration, and now with CONFIG SET appendonly yes.",
            )
        elif _configured(redis, "appendfsync") not in _KEPT:
            yield error(
                f"{name} leaves it to the system when to write to its disk",
                "Set `appendfsync everysec` or `always`.",
            )
        told: Any = redis.info("persistence")
        if told.get("aof_last_write_status", "ok") != "ok" or told.get("aof_last_bgrewrite_status", "ok") != "ok":
            yield error(f"{name} could not write its append-only file", "Look at its disk and its log.")


@check("redis-eviction", "maxmemory-policy is noeviction: an evicted key is a lost event")
def eviction(installation: Installation) -> Iterator[Remark]:
    """Nothing is evicted."""
    for name, redis in installation.redises.items():
        policy = _configured(redis, "maxmemory-policy")
        if policy != "noeviction":
            yield error(
                f"{name} evicts keys ({policy}): events get lost or count twice",
                "Set `maxmemory-policy noeviction`.",
            )


@check("redis-memory", "used memory against maxmemory, and room for what JOURNAL_MAX_BYTES lets wait")
def memory(installation: Installation) -> Iterator[Remark]:
    """There is room for an outage of PostgreSQL."""
    for name, redis in installation.redises.items():
        told: Any = redis.info("memory")
        used, limit = int(told["used_memory"]), int(told["maxmemory"])
        if not limit:
            yield ok(f"{name} uses {_mebibytes(used)}, without a maxmemory")
        elif used > _NEARLY_FULL * limit:
            level = error if used > _FULL * limit else warning
            yield level(
                f"{name} uses {used / limit:.0%} of its maxmemory of {_mebibytes(limit)}",
                "Raise maxmemory, or look what waits: questline_journal_bytes and questline_log_bytes.",
            )
        elif limit < 2 * installation.settings.journal_max_bytes:
            yield warning(
                f"{name} has a maxmemory of {_mebibytes(limit)}, below twice JOURNAL_MAX_BYTES: it may be full first",
                "Raise maxmemory to at least twice JOURNAL_MAX_BYTES, or lower JOURNAL_MAX_BYTES.",
            )
        else:
            yield ok(f"{name} uses {used / limit:.0%} of {_mebibytes(limit)}")


@check("redis-password", "the state Redis and the broker are behind a password", needs_servers=False)
def password(installation: Installation) -> Iterator[Remark]:
    """Who reaches a Redis can send messages to workers, so it takes a password to be let in."""
    settings = installation.settings
    for setting, url in {"STATE_URL": settings.state, "BROKER_URL": settings.broker}.items():
        parts = urlsplit(url)
        if installation.has_servers and not parts.password:
            level = warning if is_loopback(parts.hostname or "localhost") else error
            yield level(
                f"{setting} holds no password: whoever reaches that Redis can write progress and messages",
                "Set `requirepass` on the server, and name the password in the URL.",
            )


def _configured(redis: Redis, name: str) -> str:
    found: Any = redis.config_get(name)
    return str(found[name])


def _mebibytes(size: int) -> str:
    return f"{size / 1024 / 1024:,.0f} MiB"
