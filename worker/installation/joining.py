"""How a process joins its installation: connections of its own, one look at record and clocks, and its settings."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from redis import Redis
from sqlalchemy import Engine

from config.settings import Settings
from models.cold.connection import connect_database
from models.cold.installation import InstallationTable
from models.errors import DatabaseUnavailableError, StateUnavailableError
from models.hot.connection import connect_state
from models.hot.installation import InstallationCopy
from models.hot.layout import Layouts
from models.installation import InstallationRecord
from worker.database_check import refuse_unsuitable
from worker.installation.agreement import Agreement, agreed, wait_until_settled
from worker.installation.clocks import check_clocks
from worker.installation.evidence import check_shards
from worker.schema_release import refuse_newer_schema


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
        record = wait_until_settled(_agreement(redis, engine), settings)
        check_clocks(redis, engine)
        return agreed(settings, record)


def shared(settings: Settings) -> Settings:
    """The settings of a command, the shared ones as the installation has them, where that is known.

    Raises:
        ConfigurationError: the environment names other values.
    """
    record = known_record(settings)
    return settings if record is None else agreed(settings, record)


def known_record(settings: Settings) -> InstallationRecord | None:
    """The installation's record, of whichever server answers; nothing is written."""
    with _servers(settings) as (redis, engine):
        found = None
        with suppress(DatabaseUnavailableError):
            found = InstallationTable(engine).read()
        if found is None:
            with suppress(StateUnavailableError):
                found = InstallationCopy(redis).read()
        return found


def _agreement(redis: Redis, engine: Engine) -> Agreement:
    return Agreement(
        InstallationTable(engine),
        InstallationCopy(redis),
        Layouts(redis),
        lambda shards: check_shards(redis, engine, shards),
    )


@contextmanager
def _servers(settings: Settings) -> Iterator[tuple[Redis, Engine]]:
    engine = connect_database(settings.database_url, application="questline-installation", pool_size=1)
    try:
        with closing(connect_state(settings.state)) as redis:
            yield redis, engine
    finally:
        engine.dispose()


def settle_again(settings: Settings) -> InstallationRecord | None:
    """Bring the record of Redis in line with PostgreSQL's, from a process that runs; None while neither answers.

    Raises:
        ConfigurationError: the two servers are of two installations.
    """
    with _servers(settings) as (redis, engine), suppress(StateUnavailableError):
        agreement = Agreement(InstallationTable(engine), InstallationCopy(redis), Layouts(redis), lambda _shards: None)
        return agreement.settle(settings)
    return None
