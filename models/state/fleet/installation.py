"""The copy of the installation's record, for when PostgreSQL is away."""

from typing import Any

from redis import Redis

from models.errors import ConfigurationError
from models.fleet.installation import InstallationRecord, read_record
from models.state.connection import state_errors
from models.state.keys import INSTALLATION
from models.state.scripts import register


class InstallationCopy:
    """The key ``ql:installation``. Every method may raise ``StateUnavailableError``."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._write = register(redis, "write_installation")

    def read(self) -> InstallationRecord | None:
        """The record; None where Redis has none."""
        with state_errors():
            found: Any = self._redis.hget(INSTALLATION, "record")
        return None if found is None else _parsed(found)

    def write(self, record: InstallationRecord) -> InstallationRecord:
        """Write the record, unless Redis knows a newer one or another installation; returns what it has now."""
        with state_errors():
            held: bytes = self._write(
                keys=[INSTALLATION], args=[record.installation_id, record.revision, record.to_json()]
            )
        return _parsed(held)


def _parsed(text: bytes) -> InstallationRecord:
    try:
        return read_record(text)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"the key {INSTALLATION} in Redis is not a record of this release: {error}") from error
