"""Retries of passing faults: a few times within seconds, with random waits.

What is still away then is left to what stands behind: the journal brings a batch back, the next tick repeats the rest.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from models.declarations.metrics import RETRIES
from models.errors import SERVER_AWAY
from models.state.metrics import Metrics

ATTEMPTS = 4
PATIENCE = 5.0
"""Seconds after which a call is not tried again: attempts that end by a timeout of their own are few."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 2.0
"""Seconds. A wait is drawn from 0 to this bound, which doubles each time."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retries:
    """Repeats calls that may be repeated, and counts each repetition by its reason."""

    metrics: Metrics
    sleep: Callable[[float], None] = time.sleep

    def wrap(self, store: T) -> T:
        """A store, each of whose methods is called in this way; for calls that may be repeated."""
        return cast("T", _Retried(store, self))

    def __call__(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The answer of the call; after the last attempt its error."""
        attempts = Retrying(  # made anew each time: calls may be nested
            retry=retry_if_exception_type(SERVER_AWAY),
            wait=wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT),
            stop=stop_after_attempt(ATTEMPTS) | stop_after_delay(PATIENCE),
            before_sleep=self._count,
            sleep=self.sleep,
            reraise=True,
        )
        return attempts(call, *args, **kwargs)

    def _count(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.metrics.count(RETRIES, label=type(error).__name__)


class _Retried:
    """Stands for a store; everything but its methods is not to be asked for."""

    def __init__(self, store: object, retries: Retries) -> None:
        self._store, self._retries = store, retries

    def __getattr__(self, name: str) -> Any:
        return partial(self._retries, getattr(self._store, name))
