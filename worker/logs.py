"""JSON logs: one object a line on standard error."""

import logging
import sys
from collections.abc import Mapping
from typing import Any, cast

import structlog
from structlog.types import EventDict, Processor

from models.secrets import without_passwords

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logs(level: str, *, process: str) -> None:
    """Send structlog's and the standard library's records through one JSON renderer."""
    shared: list[Processor] = [
        _naming(process),
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _mask_passwords,
                structlog.processors.EventRenamer("message", "event"),
                cast("Processor", structlog.processors.JSONRenderer()),
            ],
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    # Celery writes two lines a task at info; ours say more.
    for noisy in ("celery.app.trace", "celery.worker.strategy", "celery.beat", "kombu", "alembic"):
        logging.getLogger(noisy).setLevel(max(_LEVELS[level], logging.WARNING))
    # Its warnings are about clients that speak no HTTP; "request_refused" says it.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def _naming(process: str) -> Processor:
    """Name the process in every line. A context variable would do so in the thread that set it, and in no other."""

    def name_process(_logger: Any, _method: str, record: EventDict) -> EventDict:
        record.setdefault("process", process)
        return record

    return name_process


def _mask_passwords(_logger: Any, _method: str, record: EventDict) -> EventDict:
    """Remove passwords of URLs from every field, of libraries' records too; tracebacks are text by now."""
    return {name: _masked(value) for name, value in record.items()}


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return without_passwords(value)
    if isinstance(value, Mapping):
        return {_masked(key): _masked(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float) else without_passwords(repr(value))
