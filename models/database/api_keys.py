"""API keys in PostgreSQL: the table ``api_keys``, of which no row is ever deleted."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple, cast

from sqlalchemy import Connection, Engine, Row

from models.access.api_keys import ApiKey, KeyStore, NewKey, draw_key
from models.access.callers import Scope
from models.database.connection import database_errors, statement
from models.errors import PermanentError
from models.rules.calendar import microseconds, to_datetime


class KeyRow(NamedTuple):
    """All that is known of a key."""

    key: ApiKey
    note: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    """To about a minute."""


class Rights(NamedTuple):
    """What a key is made for."""

    tenant_id: str
    scope: Scope
    note: str | None = None
    rate_limit: int | None = None
    """Requests a second."""


def read_keys(engine: Engine) -> list[KeyRow]:
    """Every key, the oldest first.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer, or has not the table yet.
    """
    with database_errors(), engine.connect() as connection:
        return [_row(row) for row in connection.exec_driver_sql(statement("read_api_keys"))]


def read_key_store(engine: Engine) -> KeyStore:
    """Every key, to check shown ones against; raises what ``read_keys`` raises."""
    return KeyStore(row.key for row in read_keys(engine))


def create_key(engine: Engine, rights: Rights, lifetime: timedelta | None = None) -> tuple[NewKey, KeyRow]:
    """Make a key that is valid from now on, for ``lifetime`` where that is given.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with database_errors(), engine.begin() as connection:
        return _insert(connection, rights, lifetime)


def rotate_key(
    engine: Engine, key_id: str, grace: timedelta, lifetime: timedelta | None = None
) -> tuple[NewKey, KeyRow]:
    """Make a key of the same rights; the old one is valid for ``grace`` more.

    The new one lives for ``lifetime``, else as long as the old one was given when it was made.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
        PermanentError: there is no such key, it is not valid any more, or it was rotated before: it would hand on the
            short life that is left of it.
    """
    with database_errors(), engine.begin() as connection:
        old = connection.exec_driver_sql(statement("lock_api_key"), {"key_id": key_id}).one_or_none()
        if old is None:
            raise PermanentError(f"there is no key {key_id}")
        if old.is_revoked or old.is_expired:
            raise PermanentError(
                f"the key {key_id} {'is revoked' if old.is_revoked else 'has expired'}: make a new one"
            )
        if old.replaced_by is not None:
            raise PermanentError(f"the key {key_id} was rotated already: rotate {old.replaced_by}, which replaced it")
        given = old.expires_at - old.created_at if old.expires_at else None
        rights = Rights(old.tenant_id, old.scope, old.note, old.rate_limit)
        made, row = _insert(connection, rights, lifetime or given)
        ending = {"key_id": key_id, "grace": grace, "replaced_by": made.key_id}
        connection.exec_driver_sql(statement("end_api_key"), ending)
        return made, row


def revoke_key(engine: Engine, key_id: str) -> KeyRow:
    """End a key at once; one that was revoked stays as it is.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
        PermanentError: there is no such key.
    """
    with database_errors(), engine.begin() as connection:
        row = connection.exec_driver_sql(statement("revoke_api_key"), {"key_id": key_id}).one_or_none()
        if row is None:
            raise PermanentError(f"there is no key {key_id}")
        return _row(row)


def note_uses(engine: Engine, uses: Mapping[str, int]) -> None:
    """Remember when keys were last used, in microseconds since the epoch.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    # In the order of ids, so that two receivers cannot wait for each other.
    ordered = sorted(uses.items())
    parameters = {"key_id": [key_id for key_id, _ in ordered], "used_at": [to_datetime(at) for _, at in ordered]}
    with database_errors(), engine.begin() as connection:
        connection.exec_driver_sql(statement("note_api_key_uses"), parameters)


def _insert(connection: Connection, rights: Rights, lifetime: timedelta | None) -> tuple[NewKey, KeyRow]:
    made = draw_key()
    values = rights._asdict() | {"key_id": made.key_id, "secret_hash": made.secret_hash, "lifetime": lifetime}
    return made, _row(connection.exec_driver_sql(statement("insert_api_key"), values).one())


def _row(row: Row[tuple[object, ...]]) -> KeyRow:
    key = ApiKey(
        key_id=row.key_id,
        tenant_id=row.tenant_id,
        scope=cast("Scope", row.scope),
        secret_hash=bytes(row.secret_hash),
        rate_limit=row.rate_limit,
        expires_at=_us(row.expires_at),
        revoked_at=_us(row.revoked_at),
    )
    return KeyRow(key, row.note, row.created_at, row.expires_at, row.revoked_at, row.last_used_at)


def _us(at: datetime | None) -> int | None:
    return None if at is None else microseconds(at)
