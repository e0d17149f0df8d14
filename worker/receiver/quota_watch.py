"""Reads quotas every second, and reports what was sent to other receivers."""

import structlog
from sqlalchemy import Engine

from ingest.quotas import Quotas
from models.database.quotas import read_quotas
from models.pollers import Poller

_INTERVAL_S = 1.0

log = structlog.get_logger()


class QuotaWatch:
    """While PostgreSQL is away, what was read last holds; at first that is what the settings say."""

    def __init__(self, quotas: Quotas, engine: Engine) -> None:
        """Contacts no server."""
        self._quotas, self._engine = quotas, engine
        self._poller = Poller(
            "quotas",
            self._poll,
            _INTERVAL_S,
            failed=lambda error: log.debug("quotas_not_shared", error=str(error)),
            broke=lambda error: log.error("quota_watch_broke", exc_info=error),
        )

    def start(self) -> None:
        """Go on until ``stop``."""
        self._poller.start()

    def stop(self) -> None:
        """End the thread."""
        self._poller.stop()

    def _poll(self) -> None:
        try:
            self._quotas.push()
        finally:
            self._quotas.use(read_quotas(self._engine))
