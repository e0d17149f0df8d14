"""Connections that are cut when PostgreSQL does not answer in time.

``statement_timeout`` is kept by the server process, and TCP by its kernel: where the process stands still, neither ends
the wait, and psycopg2 waits for ever. Here a timer of our own ends it.
"""

import os
import socket
from contextlib import suppress
from threading import Timer
from typing import Any

from psycopg2 import InterfaceError
from sqlalchemy import Engine, event

_TIMER = "answer_limit"


def limit_answers(engine: Engine, seconds: float) -> None:
    """Cut each connection of an engine that is in use for longer; the statement then fails as if the server had gone.

    Only for an engine without ``pool_pre_ping``, which asks before a connection counts as in use.
    """

    def begin(connection: Any, record: Any, _proxy: Any) -> None:
        timer = record.info[_TIMER] = Timer(seconds, _cut, (connection,))
        timer.daemon = True
        timer.start()

    def end(_connection: Any, record: Any, *_error: Any) -> None:
        timer = record.info.pop(_TIMER, None)
        if timer is not None:
            timer.cancel()

    event.listen(engine, "checkout", begin)
    event.listen(engine, "checkin", end)
    event.listen(engine, "invalidate", end)


def _cut(connection: Any) -> None:
    """Shut the socket that another thread waits at; closing it would let its number be given to another file."""
    with suppress(InterfaceError, OSError), socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)
