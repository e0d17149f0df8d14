"""The test servers as an environment of the product's processes and commands."""

from collections.abc import Mapping
from importlib.metadata import version
from time import time_ns

from sqlalchemy import URL, make_url

from api.health.path_probe import fingerprint_of
from config.settings import Settings
from models.state.connection import connect_state
from models.state.fleet.path_state import PathState


def database_settings(database: str | URL) -> dict[str, str]:
    """The settings that name a PostgreSQL."""
    parts = make_url(database)
    return {
        "DB_HOST": parts.host or "",
        "DB_PORT": str(parts.port or 5432),
        "DB_NAME": parts.database or "",
        "DB_USER": parts.username or "",
        "DB_PASSWORD": parts.password or "",
        **{f"DB_{name.upper()}": str(value) for name, value in parts.query.items()},
    }


def remember_path(settings: Mapping[str, str]) -> None:
    """Let a receiver with these settings take events though no worker is there to bring a probe through."""
    made = Settings(**{name.lower(): value for name, value in settings.items()})  # type: ignore[arg-type]
    redis = connect_state(made.state)
    PathState(redis, made.max_lateness).remember(fingerprint_of(made, version("questline")), time_ns() // 1000)
    redis.close()


def other_database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)
