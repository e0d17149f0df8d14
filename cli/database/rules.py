"""What commands about published rules share: the running product's PostgreSQL, and files in its form."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine

from cli.client.running import require_servers, running_settings
from cli.database.connection import open_database
from config.settings import Settings
from models.database.rules.publisher import Document
from models.installation.joining import shared
from models.state.connection import connect_state
from models.state.fleet.fences import Fences
from tasks.rules.publications import read_file


def rules_database() -> AbstractContextManager[Engine]:
    """The PostgreSQL of the running product, or the one that the environment names.

    Raises:
        PermanentError: there is none, or it has not this version's tables.
    """
    return open_database(running_settings(Settings()), "questline-rules")


@contextmanager
def rules_fences() -> Iterator[Fences]:
    """The fences of the running product, or of the Redis that the environment names.

    Raises:
        PermanentError: there is none.
        ConfigurationError: the environment names other shards than the installation has.
    """
    settings = running_settings(Settings())
    require_servers(settings)
    settings = shared(settings)  # the number of shards above all
    with closing(connect_state(settings.state)) as redis:
        yield Fences(redis, settings.shards)


def read_document(file: Path, *, lateness: timedelta | None = None) -> Document:
    """Read a challenges file from disk, with the bounds that ``lateness``, or else ``MAX_LATENESS``, sets.

    Raises:
        ConfigurationError: the file cannot be read.
        InvalidChallengesError: the file has faults.
    """
    return read_file(file, Settings().max_lateness if lateness is None else lateness)
