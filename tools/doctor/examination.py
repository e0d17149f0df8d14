"""Runs the checks side by side, each with its own time limit."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import Thread
from time import monotonic
from typing import NamedTuple

from celery.exceptions import CeleryError
from kombu.exceptions import KombuError
from redis.exceptions import NoPermissionError, RedisError
from sqlalchemy.exc import SQLAlchemyError

from models.errors import QuestlineError
from tools.doctor import (  # noqa: F401 - importing registers them
    agreement,
    fleet,
    histories,
    machine,
    postgres,
    redis_servers,
    settings,
)
from tools.doctor.registry import CHECKS, Check, Installation, Level, Remark, error, ok, warning

PATIENCE_SECONDS = 15.0
"""How long all checks together may take."""

_RIGHTS = "Give the user the right, as +info and +config|get: the product runs without, this check does not."
_AWAY = (QuestlineError, RedisError, SQLAlchemyError, KombuError, CeleryError, OSError)


class Finding(NamedTuple):
    """What a check found, under its name."""

    check: str
    level: Level
    says: str
    advice: str


def examine(
    installation: Installation, checks: Iterable[Check] | None = None, *, patience_s: float = PATIENCE_SECONDS
) -> list[Finding]:
    """Run checks, all of them where none are named. One that cannot be made is a warning with the reason."""
    wanted = list(CHECKS.values() if checks is None else checks)
    under_way = [_start(check, installation) for check in wanted]
    deadline = monotonic() + patience_s
    return [
        Finding(check.name, *remark)
        for check, future in zip(wanted, under_way, strict=True)
        for remark in _result(future, deadline)
    ]


def _start(check: Check, installation: Installation) -> Future[Sequence[Remark]]:
    future: Future[Sequence[Remark]] = Future()
    if check.needs_servers and not installation.has_servers:
        future.set_result([warning("not checked: no servers are named")])
        return future

    def run() -> None:
        future.set_result(_ask(check, installation))

    # A daemon: a server that hangs must not keep the command from ending.
    Thread(target=run, name=check.name, daemon=True).start()
    return future


def _ask(check: Check, installation: Installation) -> Sequence[Remark]:
    try:
        return list(check.ask(installation)) or [ok("")]
    except NoPermissionError as denied:
        return [warning(f"not checked: {_first_line(denied)}", _RIGHTS)]
    except _AWAY as away:
        return [warning(f"not checked: {_first_line(away)}", "Make the server answer, then ask again.")]
    except Exception as fault:  # noqa: BLE001 - one check that is broken must not hide the others
        return [error(f"the check itself failed: {fault!r}", "Report this as a fault of Questline.")]


def _result(future: Future[Sequence[Remark]], deadline: float) -> Sequence[Remark]:
    try:
        return future.result(timeout=max(0.0, deadline - monotonic()))
    except FutureTimeoutError:
        return [warning("not checked: no answer in time", "Look whether the server hangs.")]


def _first_line(fault: Exception) -> str:
    text = str(getattr(fault, "orig", fault)).strip() or type(fault).__name__
    return text.splitlines()[0]
