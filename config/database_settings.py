"""The settings that name PostgreSQL: ``DATABASE_URL``, or ``DB_*`` one by one."""

from typing import Any, Self

from pydantic import AliasChoices, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from config.database_urls import (
    DatabaseAddress,
    DatabaseUrl,
    Port,
    SslMode,
    database_url,
    read_database_url,
    with_options,
)

_PARTS = {"host": "db_host", "port": "db_port", "name": "db_name", "user": "db_user", "password": "db_password"}
_OPTIONS = {"sslmode": "db_sslmode", "sslrootcert": "db_sslrootcert"}


class DatabaseSettings(BaseSettings):
    """Where PostgreSQL is. Without a host it is the embedded one that ``questline up`` starts."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    db_host: str | None = None
    """PostgreSQL's host. Not set: `questline up` starts its own PostgreSQL."""
    db_port: Port = 5432
    """PostgreSQL's port. The embedded one takes a free port unless this is set."""
    db_name: str = "challenge_db"
    """The database."""
    db_user: str = "postgres"
    """Its user."""
    db_password: str = "postgres"  # noqa: S105 - the default of the system this replaces; `up` makes its own
    """Its password. The embedded one gets a generated password unless this is set."""
    db_sslmode: SslMode | None = None
    """How PostgreSQL is reached: `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`, as libpq
    has them. Not set: `verify-full` with `DB_SSLROOTCERT`, else libpq's own, `prefer`.
    """
    db_sslrootcert: str | None = None
    """The file of the certificate authorities that PostgreSQL's certificate is checked against, or `system` for
    those of this machine.
    """
    given_database_url: DatabaseUrl | None = Field(
        default=None, validation_alias=AliasChoices("DATABASE_URL", "database_url")
    )
    """All of the above in one, as libpq reads it: `postgresql://user:password@host:5432/name?sslmode=verify-full`.
    One that contradicts a `DB_*` is refused.
    """

    @field_validator("given_database_url")
    @classmethod
    def _contradicts_no_part(cls, url: str | None, info: ValidationInfo) -> str | None:
        """A part that has its default counts as not set."""
        if url is None:
            return None
        for name, value in _parts_of(read_database_url(url)).items():
            if name in info.data and info.data[name] not in (cls.model_fields[name].default, value):
                raise ValueError(f"contradicts {name.upper()}: set one of them, or both to the same")
        return url

    @model_validator(mode="after")
    def _takes_the_parts_of_the_url(self) -> Self:
        if self.given_database_url is not None:
            self.__dict__.update(_parts_of(read_database_url(self.given_database_url)))
        return self

    @property
    def database_url(self) -> str:
        """PostgreSQL as a libpq URL, which every connection of ours and psql read."""
        mode = self.db_sslmode or ("verify-full" if self.db_sslrootcert else None)
        told = {"sslmode": mode, "sslrootcert": self.db_sslrootcert}
        options = {name: value for name, value in told.items() if value is not None}
        if self.given_database_url is not None:
            known = read_database_url(self.given_database_url).query
            return with_options(
                self.given_database_url, {name: value for name, value in options.items() if name not in known}
            )
        host = self.db_host or "127.0.0.1"
        return database_url(DatabaseAddress(host, self.db_port, self.db_name, self.db_user, self.db_password, options))


def _parts_of(address: DatabaseAddress) -> dict[str, Any]:
    """What a URL says, by the names of the settings that say the same."""
    found = {setting: getattr(address, part) for part, setting in _PARTS.items()}
    found |= {setting: address.query.get(option) for option, setting in _OPTIONS.items()}
    return {name: value for name, value in found.items() if value is not None}
