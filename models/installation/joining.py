"""Joining an installation: own connections, record, clocks and settings."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta

from redis import Redis
from sqlalchemy import Engine

from config.settings import Settings
from models.database.checks.schema_release import refuse_newer_schema
from models.database.checks.suitability import refuse_unsuitable
from models.database.connection import connect_database
from models.database.fleet.installation import InstallationTable
from models.errors import DatabaseUnavailableError, PermanentError, StateUnavailableError
from models.fleet.installation import InstallationRecord
from models.installation.agreement import Agreement, agreed, tell_of_old_values, wait_until_agreed
from models.installation.clocks import check_clocks
from models.installation.evidence import check_shards
from models.state.connection import connect_state
from models.state.fleet.installation import InstallationCopy
from models.state.fleet.layout import Layouts

_PATIENCE = timedelta(seconds=3)
"""How long a PostgreSQL that hangs may hold up a process that starts: the copy in Redis decides then."""


def join(settings: Settings) -> Settings:
    """The settings of a process that may start, the shared ones as the installation has them.

    While neither PostgreSQL nor Redis answers, it waits.

    Raises:
        ConfigurationError: the process differs from its installation, one line says in what, and both values; or
            PostgreSQL cannot be used as it is, or is of a later release.
    """
    with _servers(settings) as (redis, engine):
        refuse_unsuitable(engine)
        refuse_newer_schema(engine)
        agreement = _agreement(settings, redis, engine)
        record = wait_until_agreed(agreement, settings)
        check_clocks(redis, engine if agreement.database_answers else None)
        joined = agreed(settings, record)
        tell_of_old_values(settings, record)
        return joined


def shared(settings: Settings) -> Settings:
    """The settings of a command, the shared ones as the installation has them, where that is known.

    Raises:
        ConfigurationError: the environment names other values.
    """
    record = known_record(settings)
    return settings if record is None else agreed(settings, record)


def shared_to_write(settings: Settings) -> Settings:
    """As ``shared``, for a command that writes users' records: it must know where those are.

    Raises:
        ConfigurationError: the environment names other values.
        PermanentError: a change of the shared settings is under way.
    """
    record = known_record(settings)
    if record is not None and record.change is not None:
        raise PermanentError("a change of the shared settings is under way: wait for its end, or finish it first")
    return settings if record is None else agreed(settings, record)


def known_record(settings: Settings) -> InstallationRecord | None:
    """The installation's record, of whichever server answers; nothing is written.

    Where they differ the newer one holds: the other server was restored to before a change.
    """
    stored = copied = None
    with _servers(settings) as (redis, engine):
        with suppress(DatabaseUnavailableError):
            stored = InstallationTable(engine).read()
        with suppress(StateUnavailableError):
            copied = InstallationCopy(redis).read()
    if stored is None or copied is None:
        return stored or copied
    is_newer = copied.installation_id == stored.installation_id and copied.revision > stored.revision
    return copied if is_newer else stored


def bring_up(settings: Settings) -> None:
    """Bring the server with the older record up to the other one, before a command goes by it or changes it.

    Raises:
        ConfigurationError: the two servers are of two installations.
    """
    if known_record(settings) is not None:
        agree_again(settings)


def _agreement(settings: Settings, redis: Redis, engine: Engine) -> Agreement:
    def check_data(shards: int) -> None:
        patient = connect_database(settings.database_url, application="questline-installation", pool_size=1)
        try:
            check_shards(redis, patient, shards)
        finally:
            patient.dispose()

    return Agreement(InstallationTable(engine), InstallationCopy(redis), Layouts(redis), check_data)


@contextmanager
def _servers(settings: Settings) -> Iterator[tuple[Redis, Engine]]:
    engine = connect_database(
        settings.database_url, application="questline-installation", pool_size=1, statement_timeout=_PATIENCE
    )
    try:
        with closing(connect_state(settings.state)) as redis:
            yield redis, engine
    finally:
        engine.dispose()


def agree_again(settings: Settings) -> InstallationRecord | None:
    """Bring the record of Redis in line with PostgreSQL's, from a process that runs; None while neither answers.

    Raises:
        ConfigurationError: the two servers are of two installations.
    """
    with _servers(settings) as (redis, engine), suppress(StateUnavailableError):
        agreement = Agreement(InstallationTable(engine), InstallationCopy(redis), Layouts(redis), lambda _shards: None)
        return agreement.agree(settings)
    return None
