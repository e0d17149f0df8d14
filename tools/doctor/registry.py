"""The checks by name, and what they say."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from celery import Celery
from redis import Redis
from sqlalchemy import Engine

from config.settings import Settings

Level = Literal["ok", "warning", "error"]


class Remark(NamedTuple):
    """What a check found."""

    level: Level
    says: str
    advice: str = ""
    """What to do about it, in one sentence."""


ok = partial(Remark, "ok")
warning = partial(Remark, "warning")
error = partial(Remark, "error")


class RedisPart(NamedTuple):
    """A Redis, and what it is to us."""

    name: str
    client: Redis
    is_state: bool
    """Whether it holds the journal and what is not in PostgreSQL yet. A broker of its own does not: a tick that it
    loses is followed by the next."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What the checks look at. Nothing is connected before a check uses it."""

    settings: Settings
    state: Redis
    broker: Redis
    engine: Engine
    app: Celery
    now_us: Callable[[], int]
    given: Settings | None = None
    """The settings as the environment names them, where ``settings`` has the installation's shared ones."""
    has_servers: bool = True
    """Whether the settings, or a running product, name the servers."""

    @property
    def redises(self) -> tuple[RedisPart, ...]:
        """The Redis servers by what they are to us; one where the broker is the state Redis."""
        if self.settings.state == self.settings.broker:
            return (RedisPart("Redis", self.state, is_state=True),)
        return (
            RedisPart("the state Redis", self.state, is_state=True),
            RedisPart("the broker", self.broker, is_state=False),
        )


Ask = Callable[[Installation], Iterable[Remark]]


@dataclass(frozen=True, slots=True)
class Check:
    """A check: what it is called, what it looks at, and whether it talks to a server."""

    name: str
    subject: str
    ask: Ask
    needs_servers: bool


CHECKS: dict[str, Check] = {}
"""All of them, in the order of their report."""


def check(name: str, subject: str, *, needs_servers: bool = True) -> Callable[[Ask], Ask]:
    """Register a check. No remark at all means that all is well."""

    def register(ask: Ask) -> Ask:
        CHECKS[name] = Check(name, subject, ask, needs_servers)
        return ask

    return register
