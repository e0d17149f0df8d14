"""Checks of the state Redis and the broker: answers, durability, memory."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from redis import Redis

from config.loopback import is_loopback
from config.shards import MAINTENANCE_QUEUE
from models.errors import NotReadyError
from models.state.checks.answers import replica_probe, write_probe
from models.state.checks.key_types import foreign_keys_of_broker, foreign_keys_of_state
from models.state.checks.requirements import redis_uses, unfitness
from models.state.server.servers import UnfitServerError
from tools.doctor.registry import Installation, RedisPart, Remark, check, error, ok, warning

OLDEST = (7, 0)
"""The command set that scripts keep to."""
_FULL, _NEARLY_FULL = 0.9, 0.78
_KEPT = ("everysec", "always")


@check("redis", "the state Redis and the broker answer and take writes")
def answers(installation: Installation) -> Iterator[Remark]:
    """A write goes through."""
    for part in installation.redises:
        try:
            write_probe(part.client)
            yield ok(f"{part.name} takes writes")
        except NotReadyError as fault:
            if not isinstance(fault.__cause__, UnfitServerError):  # that is told as redis-rights
                yield error(f"{part.name} {fault}", "Start it, give it room, or correct STATE_URL and BROKER_URL.")


@check("redis-rights", "each Redis is a server of its own, a master, and its user may do what the product does")
def rights(installation: Installation) -> Iterator[Remark]:
    """Nothing that waiting would not mend."""
    clients = (part.client for part in installation.redises)
    for use, client in zip(redis_uses(installation.settings), clients, strict=True):
        fault = unfitness(client, use)
        if fault is not None:
            yield error(f"{use.setting}: {fault}", f"Correct {use.setting}, or the rules of its user.")


@check("redis-version", "Redis 7.0 or newer, or Valkey")
def version(installation: Installation) -> Iterator[Remark]:
    """The server knows the commands that scripts use."""
    for part in installation.redises:
        told: Any = part.client.info("server")
        kind = "Valkey" if "valkey_version" in told else "Redis"
        number = str(told.get("valkey_version", told["redis_version"]))
        compatible = tuple(int(part) for part in str(told["redis_version"]).split(".")[:2])
        if compatible < OLDEST:
            yield error(f"{part.name} is {kind} {number}", "Update it to Redis 7.0 or Valkey 8 at least.")
        else:
            yield ok(f"{part.name} is {kind} {number}")


@check("redis-durability", "the append-only file is on, synced at least every second, and was written well")
def durability(installation: Installation) -> Iterator[Remark]:
    """What is answered is on its way to the disk; a broker of its own holds little that the journal lacks."""
    for part in installation.redises:
        if _configured(part.client, "appendonly") != "yes":
            yield _worse(part)(
                f"{part.name} has no append-only file: {_lost(part)} when it stops",
                "Set `appendonly yes` in its configuration, and now with CONFIG SET appendonly yes.",
            )
        elif _configured(part.client, "appendfsync") not in _KEPT:
            yield _worse(part)(
                f"{part.name} leaves it to the system when to write to its disk",
                "Set `appendfsync everysec` or `always`.",
            )
        told: Any = part.client.info("persistence")
        if told.get("aof_last_write_status", "ok") != "ok" or told.get("aof_last_bgrewrite_status", "ok") != "ok":
            yield _worse(part)(f"{part.name} could not write its append-only file", "Look at its disk and its log.")


@check("redis-replicas", "the state Redis has the replicas that JOURNAL_REPLICAS asks for")
def replicas(installation: Installation) -> Iterator[Remark]:
    """Where every event waits for replicas, they are there."""
    wanted = installation.settings.journal_replicas
    if not wanted:
        return
    try:
        replica_probe(installation.state, wanted)
        yield ok(f"at least {wanted} are in step")
    except NotReadyError as fault:
        yield error(f"{fault}: nothing is accepted", "Start the replicas, or lower JOURNAL_REPLICAS.")


@check("redis-eviction", "maxmemory-policy is noeviction: a key that the state Redis evicts is a lost event")
def eviction(installation: Installation) -> Iterator[Remark]:
    """Nothing is evicted."""
    for part in installation.redises:
        policy = _configured(part.client, "maxmemory-policy")
        if policy != "noeviction":
            harm = "events get lost or count twice" if part.is_state else _lost(part)
            yield _worse(part)(
                f"{part.name} evicts keys ({policy}): {harm}",
                "Set `maxmemory-policy noeviction`.",
            )


@check("redis-memory", "used memory against maxmemory, and room in the state Redis for JOURNAL_MAX_BYTES")
def memory(installation: Installation) -> Iterator[Remark]:
    """There is room for an outage of PostgreSQL."""
    for part in installation.redises:
        told: Any = part.client.info("memory")
        used, limit = int(told["used_memory"]), int(told["maxmemory"])
        if not limit:
            yield ok(f"{part.name} uses {_mebibytes(used)}, without a maxmemory")
        elif used > _NEARLY_FULL * limit:
            level = error if used > _FULL * limit else warning
            waits = "questline_journal_bytes and questline_log_bytes" if part.is_state else "questline_queue_length"
            yield level(
                f"{part.name} uses {used / limit:.0%} of its maxmemory of {_mebibytes(limit)}",
                f"Raise maxmemory, or look what waits: {waits}.",
            )
        elif part.is_state and limit < 2 * installation.settings.journal_max_bytes:
            yield warning(
                f"{part.name} has {_mebibytes(limit)} of maxmemory, below twice JOURNAL_MAX_BYTES: it may fill first",
                "Raise maxmemory to at least twice JOURNAL_MAX_BYTES, or lower JOURNAL_MAX_BYTES.",
            )
        else:
            yield ok(f"{part.name} uses {used / limit:.0%} of {_mebibytes(limit)}")


@check("redis-keys", "the keys of Questline hold what Questline wrote there")
def own_keys(installation: Installation) -> Iterator[Remark]:
    """No other application writes to keys of a shard or of the whole product."""
    shards = installation.settings.shards
    found = foreign_keys_of_state(installation.state, shards)
    found += foreign_keys_of_broker(installation.broker, [MAINTENANCE_QUEUE])
    for foreign in found:
        yield error(
            f"{foreign}: what needs it stands still",
            "Move it out of the way (RENAME, or DEL where it is of no use), and give that application another Redis.",
        )
    if not found:
        yield ok("every key of a shard holds what it should")


@check("redis-password", "the state Redis and the broker are behind a password", needs_servers=False)
def password(installation: Installation) -> Iterator[Remark]:
    """A Redis asks for a password, since its clients can send messages to workers."""
    settings = installation.settings
    for setting, url in {"STATE_URL": settings.state, "BROKER_URL": settings.broker}.items():
        parts = urlsplit(url)
        if installation.has_servers and not parts.password:
            level = warning if is_loopback(parts.hostname or "localhost") else error
            yield level(
                f"{setting} holds no password: whoever reaches that Redis can write progress and messages",
                "Set `requirepass` on the server, and name the password in the URL.",
            )


def _worse(part: RedisPart) -> Callable[[str, str], Remark]:
    """How bad it is that a server forgets."""
    return error if part.is_state else warning


def _lost(part: RedisPart) -> str:
    """What goes with it."""
    if part.is_state:
        return "whatever is accepted is lost"
    return "ticks get lost, and items of ql:poison never become dead letters"


def _configured(redis: Redis, name: str) -> str:
    found: Any = redis.config_get(name)
    return str(found[name])


def _mebibytes(size: int) -> str:
    return f"{size / 1024 / 1024:,.0f} MiB"
