"""The check of the receiver's readiness that PostgreSQL has not gone back in time."""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import Thread

from redis import Redis
from sqlalchemy import Engine

from models.errors import DatabaseUnavailableError, NotReadyError
from models.fleet.histories import Standing
from models.state.fleet.histories import read_histories
from models.stores.standings import compare

_PATIENCE_SECONDS = 0.5
"""How long a look at both stores is waited for: a PostgreSQL that stands still must not make the receiver unready."""


class HistoryCheck:
    """Compares the stores; while PostgreSQL does not answer, what was found before holds on."""

    def __init__(self, redis: Redis, engine: Engine, shards: Callable[[], int]) -> None:
        self._redis, self._engine, self._shards = redis, engine, shards
        self._under_way: Future[bool] | None = None

    def __call__(self) -> None:
        """Whether PostgreSQL has all that was written to it.

        Raises:
            StateUnavailableError: Redis does not answer.
            NotReadyError: PostgreSQL went back in time, so that nothing is accepted.
        """
        known = read_histories(self._redis, range(self._shards())).values()
        if self._found(otherwise=any(history.is_behind for history in known)):
            raise NotReadyError(
                "PostgreSQL is older than what was written to it: an operator must run `questline recover`, or put a "
                "newer backup in its place"
            )

    def _found(self, *, otherwise: bool) -> bool:
        looking, self._under_way = self._under_way or self._poll(), None  # whatever comes of it, it is told once
        try:
            return looking.result(timeout=_PATIENCE_SECONDS)
        except FutureTimeoutError:
            self._under_way = looking
            return otherwise
        except DatabaseUnavailableError:
            return otherwise

    def _poll(self) -> Future[bool]:
        future: Future[bool] = Future()

        def run() -> None:
            try:
                found = compare(self._redis, self._engine, self._shards())
                future.set_result(bool(found.of(Standing.DATABASE_BEHIND)))
            except Exception as error:  # noqa: BLE001 - raised again where the result is read
                future.set_exception(error)

        Thread(target=run, name="history-check", daemon=True).start()
        return future
