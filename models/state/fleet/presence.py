"""The processes that are alive: release, settings, and what they do."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import timedelta
from typing import Any

from redis import Redis

from models.state.connection import state_errors
from models.state.keys import PROCESS_FACTS, PROCESSES_HEARD
from models.state.scripts import register

SILENT_FOR = timedelta(seconds=15)
"""After so long without a word a process counts as gone."""


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """What a process says of itself."""

    name: str
    """One no other process has: role, host and pid."""
    role: str
    """``receiver``, ``worker``, ``maintenance`` or ``beat``."""
    release: str
    revision: int
    """Of the installation's record that it goes by."""
    values: Mapping[str, str]
    """The shared settings that it goes by."""
    own: Mapping[str, str] = field(default_factory=dict)
    """Settings that may differ, but seldom should."""
    stands_by: bool = False
    """Whether it only waits for another one to end."""
    skew_ms: int = 0
    """By how much its clock is ahead of Redis' own."""


class Presence:
    """The living processes. Every method may raise ``StateUnavailableError``."""

    def __init__(self, redis: Redis, *, silent_for: timedelta = SILENT_FOR) -> None:
        self._redis = redis
        self._silent_ms = silent_for // timedelta(milliseconds=1)
        self._note = register(redis, "note_process")

    def note(self, facts: ProcessFacts) -> int:
        """Say that a process is alive; returns Redis' time in milliseconds since the epoch."""
        said = json.dumps(asdict(facts))
        with state_errors():
            now_ms: int = self._note(keys=[PROCESSES_HEARD, PROCESS_FACTS], args=[facts.name, said, self._silent_ms])
        return now_ms

    def leave(self, name: str) -> None:
        """Say that a process ends."""
        with state_errors(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.zrem(PROCESSES_HEARD, name)
            pipeline.hdel(PROCESS_FACTS, name)
            pipeline.execute()

    def alive(self) -> list[ProcessFacts]:
        """Those that were heard of lately, by their names; one of another release may say what we cannot read."""
        with state_errors():
            seconds, micros = self._redis.time()
            since = int(seconds) * 1000 + int(micros) // 1000 - self._silent_ms
            with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.zrangebyscore(PROCESSES_HEARD, since, "+inf")
                pipeline.hgetall(PROCESS_FACTS)
                heard, facts = pipeline.execute()
        return [read for name in sorted(heard) if name in facts and (read := _read(facts[name])) is not None]


def _read(said: bytes) -> ProcessFacts | None:
    known = {field.name for field in fields(ProcessFacts)}
    with suppress(ValueError, TypeError, AttributeError):
        told: dict[str, Any] = json.loads(said)
        return ProcessFacts(**{name: value for name, value in told.items() if name in known})
    return None
