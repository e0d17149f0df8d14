"""Celery's consumer with one repair: a message that breaks its handling is kept aside, and the worker goes on.

What ``tasks/broker/envelopes.py`` lets through may still be bad in a way that only Celery knows: a task that nobody
has, a header of a wrong kind. Celery drops some of that with a log line, and ends by the rest.
"""

from collections.abc import Callable
from typing import Any

from celery.worker import consumer, state
from kombu.utils.json import dumps
from redis.exceptions import RedisError

from models.dead_letter_reasons import Reason
from models.state.queue.undeliverable import UndeliverableMessage


class Consumer(consumer.Consumer):
    """Takes the place of Celery's own in ``worker_consumer``."""

    controller: Any
    """The worker; Celery's stubs leave it out."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """What is called with each message."""
        handle = super().create_task_handler(*args, **kwargs)

        def handle_or_set_aside(message: Any) -> None:
            try:
                handle(message)
            except (RedisError, OSError, MemoryError):  # the broker's or the machine's fault, not the message's
                raise
            except Exception as error:  # noqa: BLE001 - whatever a bad message does to Celery
                _set_aside(message, Reason.UNDECODABLE_MESSAGE, error)
                self._let_go(message)

        return handle_or_set_aside

    def _let_go(self, message: Any) -> None:
        """Give back what Celery may have set aside for the message: else the worker would wait for it for ever."""
        if not message.acknowledged:
            message.ack()
        for request in tuple(state.reserved_requests):
            if request.message is message:
                state.task_ready(request)
                if self.controller.semaphore:
                    self.controller.semaphore.release()

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Its body cannot be read."""
        _set_aside(message, Reason.UNDECODABLE_MESSAGE, exc)
        super().on_decode_error(message, exc)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """It names no task."""
        _set_aside(message, Reason.UNDECODABLE_MESSAGE, ValueError("the message names no task"))
        super().on_unknown_message(body, message)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """It names a task that this version does not have."""
        _set_aside(message, Reason.UNKNOWN_TASK, exc)
        super().on_unknown_task(body, message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Celery refuses its headers or its content."""
        _set_aside(message, Reason.UNDECODABLE_MESSAGE, exc)
        super().on_invalid_task(body, message, exc)


def _set_aside(message: Any, reason: Reason, error: Exception) -> None:
    """Before the acknowledgement: a crash between the two gives one dead letter, twice."""
    task = message.headers.get("task")
    message.channel.set_aside(
        UndeliverableMessage(
            reason,
            str(error),
            dumps(message._raw).encode(),  # noqa: SLF001 - as kombu itself writes it down; it has no other name
            message.delivery_info.get("routing_key"),
            task if isinstance(task, str) else None,
            type(error).__name__,
        )
    )
