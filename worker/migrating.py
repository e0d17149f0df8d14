"""Brings a database to the newest migration."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine

import migrations
from models.cold.connection import database_errors


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration, made in code: there is no alembic.ini to keep in step with the settings."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    return config


def migrate(engine: Engine, revision: str = "head") -> None:
    """Upgrade the database to a revision.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with database_errors(), engine.connect() as connection:
        command.upgrade(alembic_config(connection), revision)
