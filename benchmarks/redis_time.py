"""Redis' own time an event: time in which Redis, which works on one command at a time, can do nothing else.

All scripts together come from its command statistics, the apply script alone from its slow log.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis

from benchmarks.product import Product
from benchmarks.throughput import HTTP_BATCHED, IncompleteError, measure
from models.rules.goals import Rulebook
from models.state.connection import connect_state
from models.state.scripts import register

_SLOWER_THAN_US = 50
"""Below every call for a batch of some size, and above nearly all commands that a script calls, which Valkey logs
as well: what is logged costs time of its own."""
_LOG_ENTRIES = 20_000


@dataclass(frozen=True)
class RedisTime:
    """Microseconds an event; a script's time includes that of the commands it calls."""

    apply: float
    all_scripts: float
    """The journal's, hydration's and the flush's besides."""
    events_per_call: float
    """Events applied by one call on average: the batches that group commit made."""


def measure_redis(product: Product, rulebook: Rulebook, events: int) -> RedisTime:
    """One load of batched HTTP with the slow log on.

    Raises:
        IncompleteError: not every event arrived, or the log was too short.
    """
    redis = connect_state(product.settings.state)
    try:
        apply_call = f"EVALSHA {register(redis, 'apply_events').sha}".encode()
        with _slow_log(redis):
            before = redis.info("commandstats")
            measure(product, rulebook, HTTP_BATCHED, events)
            after = redis.info("commandstats")
            entries: list[Any] = redis.slowlog_get(_LOG_ENTRIES)
    finally:
        redis.close()
    if len(entries) == _LOG_ENTRIES:
        raise IncompleteError(f"{events:,} events fill Redis' slow log: measure fewer")
    applied = [entry["duration"] for entry in entries if entry["command"].startswith(apply_call)]
    if not applied:
        raise IncompleteError("Redis' slow log shows no call of the apply script")
    scripts = after["cmdstat_evalsha"]["usec"] - before["cmdstat_evalsha"]["usec"]
    return RedisTime(sum(applied) / events, scripts / events, events / len(applied))


@contextmanager
def _slow_log(redis: Redis) -> Iterator[None]:
    wanted = {"slowlog-log-slower-than": str(_SLOWER_THAN_US), "slowlog-max-len": str(_LOG_ENTRIES)}
    kept: dict[Any, Any] = {}
    for name, value in wanted.items():
        kept |= redis.config_get(name)
        redis.config_set(name, value)
    redis.slowlog_reset()
    try:
        yield
    finally:
        for name, value in kept.items():
            redis.config_set(name, value)
        redis.slowlog_reset()
