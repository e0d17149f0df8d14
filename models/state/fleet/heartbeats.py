"""When each periodic task began last."""

from typing import Any

from redis import Redis

from models.state.connection import state_errors
from models.state.keys import HEARTBEATS


class Heartbeats:
    """The beginnings of periodic tasks, by the task's name."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def note(self, task: str, now_us: int) -> None:
        """Note that a task begins.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        with state_errors():
            self._redis.hset(HEARTBEATS, task, str(now_us))

    def read(self) -> dict[str, int]:
        """When (µs since the epoch) each task began last; a task that never did is not in it.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        with state_errors():
            found: Any = self._redis.hgetall(HEARTBEATS)
        return {task.decode(): int(at) for task, at in found.items()}
