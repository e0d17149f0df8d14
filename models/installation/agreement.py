"""Agreement of a process with its installation before it works (promise P13).

The first process of an installation writes its shared settings down, in PostgreSQL and in Redis; whoever comes later
goes by them. What the environment does not name is taken from there. What it names must be the same, or be a value
that the installation had before: then the environment is out of date, which is logged and does no harm.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from config.settings import Settings
from config.shared_settings import NOT_SET, SHARED, is_explicit, shared_values, with_shared_values
from models.database.fleet.installation import InstallationTable
from models.errors import SERVER_AWAY, ConfigurationError, DatabaseUnavailableError, StateUnavailableError
from models.fleet.installation import PROVISIONAL, InstallationRecord, new_record
from models.state.fleet.installation import InstallationCopy
from models.state.fleet.layout import Layouts

WAIT_SECONDS = 1.0
"""Between two looks, while neither server answers."""

log = structlog.get_logger()


@dataclass(slots=True)
class Agreement:
    """Agrees on the record between PostgreSQL and Redis, for one process."""

    table: InstallationTable
    copy: InstallationCopy
    layouts: Layouts
    check_data: Callable[[int], None]
    """Raises ConfigurationError where what is stored was laid out by another number of shards."""
    database_answers: bool = field(default=True, init=False)
    """Whether PostgreSQL did when it was asked last."""

    def agree(self, settings: Settings) -> InstallationRecord:
        """The record of the installation, which is made from these settings where there is none.

        Raises:
            ConfigurationError: the two servers are of two installations, or the data speak against ``SHARDS``.
            StateUnavailableError: neither PostgreSQL nor Redis answers.
        """
        try:
            stored = self.table.read()
            self.database_answers = True
        except DatabaseUnavailableError as error:
            self.database_answers = False
            log.warning("installation_not_in_postgres", error=str(error))
            return self._from_redis(settings)
        copied = self._copied()
        if stored is None:
            stored = self.table.create(self._first(settings, copied))
        stored = self._newest(stored, copied)
        self._copy(stored)
        return stored

    def _from_redis(self, settings: Settings) -> InstallationRecord:
        """PostgreSQL is away: the copy decides. A Redis without one gets a provisional one, of the first process."""
        copied = self.copy.read()
        if copied is None:
            self.check_data(settings.shards)
            copied = self.copy.write(new_record(shared_values(settings), PROVISIONAL))
        self.layouts.follow(copied)
        return copied

    def _copied(self) -> InstallationRecord | None:
        try:
            return self.copy.read()
        except StateUnavailableError as error:
            log.warning("installation_not_in_redis", error=str(error))
            return None

    def _first(self, settings: Settings, copied: InstallationRecord | None) -> InstallationRecord:
        """What is written first: what Redis knows, where PostgreSQL is new or was restored, else our own settings.

        A PostgreSQL of before the record may have events of an earlier number of shards than Redis is laid out by.
        """
        record = new_record(shared_values(settings), 1)
        if copied is not None:
            record = InstallationRecord(
                copied.installation_id, max(1, copied.revision), copied.values, copied.former, copied.change
            )
        if copied is None or copied.revision == PROVISIONAL:
            self.check_data(int(record.values["SHARDS"]))
        return record

    def _newest(self, stored: InstallationRecord, copied: InstallationRecord | None) -> InstallationRecord:
        """PostgreSQL's record, unless it went back in time: Redis is laid out by the newest one."""
        if copied is None or copied.revision == PROVISIONAL:
            return stored
        if copied.installation_id != stored.installation_id:
            raise ConfigurationError(_TWO_INSTALLATIONS.format(stored.installation_id[:8], copied.installation_id[:8]))
        if copied.revision <= stored.revision:
            return stored
        self.table.replace(copied, over=stored.revision)
        return self.table.read() or copied

    def _copy(self, record: InstallationRecord) -> None:
        try:
            self.copy.write(record)
            self.layouts.follow(record)
        except StateUnavailableError as error:
            log.warning("installation_not_in_redis", error=str(error))


_TWO_INSTALLATIONS = (
    "DB_HOST and STATE_URL are of two installations ({} and {}): name the servers of one; or empty this Redis, if it "
    "is to serve this PostgreSQL from now on"
)


def agreed(settings: Settings, record: InstallationRecord) -> Settings:
    """The settings as this installation has them.

    Raises:
        ConfigurationError: the environment names other values; one line with both of each.
    """
    faults = [fault for name in SHARED if (fault := _fault(settings, record, name))]
    if faults:
        raise ConfigurationError("; ".join(faults))
    try:
        return with_shared_values(settings, record.values)
    except ValueError as error:
        raise ConfigurationError(f"this installation's settings are none of this release: {error}") from error


def _fault(settings: Settings, record: InstallationRecord, name: str) -> str | None:
    here, there = shared_values(settings)[name], record.values.get(name)
    if not is_explicit(settings, name) or there is None or here == there:
        return None
    if here in record.former.get(name, ()):
        return None  # out of date, and not wrong
    return (
        f"{name} is {shown(here)} here and {shown(there)} in this installation: set {name}={there} or leave it out; "
        f"`{how_to_change(name, here)}` changes it everywhere"
    )


def tell_of_old_values(settings: Settings, record: InstallationRecord) -> None:
    """Log which settings the environment of a process names as they were before."""
    here = shared_values(settings)
    for name in SHARED:
        if is_explicit(settings, name) and here[name] != record.values.get(name, here[name]):
            log.warning("setting_out_of_date", setting=name, environment=here[name], installation=record.values[name])


def how_to_change(name: str, value: str) -> str:
    """The command that gives a shared setting another value."""
    return f"questline shards resize {value}" if name == "SHARDS" else f"questline settings set {name} {value or 'off'}"


def shown(value: str) -> str:
    """A value for people."""
    return "not set" if value == NOT_SET else value


def wait_until_agreed(agreement: Agreement, settings: Settings) -> InstallationRecord:
    """The record, as soon as one of the servers answers; raises what ``agree`` raises otherwise."""
    while True:
        try:
            return agreement.agree(settings)
        except SERVER_AWAY as error:
            log.warning("installation_unknown", error=str(error))
            time.sleep(WAIT_SECONDS)
