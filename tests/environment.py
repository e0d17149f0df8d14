"""The test servers as an environment of the product's processes and commands."""

from sqlalchemy import URL, make_url


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
