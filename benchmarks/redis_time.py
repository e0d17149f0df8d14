"""Redis' own time an event, by script, from its slow log: time in which Redis can do nothing else."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis

from benchmarks.product import Product
from benchmarks.throughput import HTTP_BATCHED, IncompleteError, measure
from models.hot.connection import connect_state
from models.hot.scripts import SCRIPTS, register
from models.rules.goals import Rulebook

APPLY = "apply_events"
_LOG_ENTRIES = 100_000
_OTHER_COMMANDS = "other commands"


@dataclass(frozen=True)
class RedisTime:
    """What Redis spent on one load, each command with all that it called."""

    events: int
    calls: Counter[str]
    seconds: Counter[str]
    """By script; what is no script of ours is one entry."""

    def us_per_event(self, name: str) -> float:
        """Microseconds of this script an event."""
        return 1e6 * self.seconds[name] / self.events


def measure_redis(product: Product, rulebook: Rulebook, events: int) -> RedisTime:
    """One load of batched HTTP with every command logged.

    Logging costs Redis some time of its own, so no rate is taken from this load.

    Raises:
        IncompleteError: not every event arrived, or the log was too short for all commands.
    """
    redis = connect_state(product.settings.state)
    try:
        names = {register(redis, name).sha.encode(): name for name in SCRIPTS}
        with _everything_logged(redis):
            measure(product, rulebook, HTTP_BATCHED, events)
            entries: list[Any] = redis.slowlog_get(_LOG_ENTRIES)
    finally:
        redis.close()
    if len(entries) == _LOG_ENTRIES:
        raise IncompleteError(f"{events:,} events make more than {_LOG_ENTRIES:,} commands: measure fewer")
    calls, seconds = Counter[str](), Counter[str]()
    for entry in entries:
        words = entry["command"].split(b" ", 2)
        name = names.get(words[1], _OTHER_COMMANDS) if words[0] == b"EVALSHA" else _OTHER_COMMANDS
        calls[name] += 1
        seconds[name] += entry["duration"] / 1e6
    return RedisTime(events, calls, seconds)


@contextmanager
def _everything_logged(redis: Redis) -> Iterator[None]:
    wanted = {"slowlog-log-slower-than": "0", "slowlog-max-len": str(_LOG_ENTRIES)}
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
