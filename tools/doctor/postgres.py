"""Checks of PostgreSQL: it answers, is new enough, and has our tables."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from config.loopback import is_loopback
from migrations.runner import alembic_config
from models.database.checks.suitability import database_probe
from models.database.connection import database_errors
from models.database.partitions import EVALUATIONS, EVENTS, days_around, partition_name
from models.database.rules.publications import load
from models.database.server.servers import OLDEST
from models.errors import ConfigurationError, DatabaseUnavailableError, NotReadyError
from tasks.rules.publications import parse_stored
from tools.doctor.registry import Installation, Remark, check, error, ok, warning

_UNUSED = timedelta(days=90)
_EXPIRES_SOON = timedelta(days=14)
_PARTITIONS = "SELECT relname FROM pg_class WHERE relispartition AND relname ~ '^(events|evaluations)_[0-9]{8}$'"
_KEYS = (
    "SELECT key_id, expires_at, replaced_by, coalesce(last_used_at, created_at) AS touched_at FROM api_keys"
    " WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) ORDER BY created_at"
)


@check(
    "postgresql",
    "PostgreSQL answers, in UTF8, and takes writes; what each transaction sets holds in it, also behind a pooler",
)
def answers(installation: Installation) -> Iterator[Remark]:
    """It is there and no standby."""
    try:
        database_probe(installation.engine)
    except NotReadyError as fault:
        yield error(f"PostgreSQL {fault}", "Let DB_HOST or DATABASE_URL name a database that can be used.")
    except DatabaseUnavailableError as fault:
        first, *_ = str(fault).splitlines()
        yield error(first, "Start it, or correct DATABASE_URL or DB_*.")
    else:
        yield ok("PostgreSQL takes writes")


@check("postgresql-tls", "what goes to PostgreSQL on another machine is encrypted")
def encryption(installation: Installation) -> Iterator[Remark]:
    """What passes between machines cannot be read on the way."""
    host = installation.settings.db_host or ""
    if all(is_loopback(name) or name.startswith("/") for name in host.split(",")):
        return
    with database_errors(), installation.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        is_encrypted = bool(driver.info.ssl_in_use)
    mode = installation.settings.db_sslmode
    if not is_encrypted:
        yield warning("the connection to PostgreSQL is not encrypted", "Set DB_SSLROOTCERT, or DB_SSLMODE=require.")
    elif mode not in ("verify-ca", "verify-full") and installation.settings.db_sslrootcert is None:
        yield warning(
            "the certificate of PostgreSQL is not checked",
            "Set DB_SSLROOTCERT to the file of its authority, or to system.",
        )


@check("postgresql-version", "PostgreSQL 13 or newer")
def version(installation: Installation) -> Iterator[Remark]:
    """It knows what statements use."""
    with database_errors(), installation.engine.connect() as connection:
        number = int(_asked(connection, "SHOW server_version_num"))
        said = f"PostgreSQL {number // 10_000}.{number % 10_000}"
    yield ok(said) if number // 10_000 >= OLDEST else error(said, f"Update it to PostgreSQL {OLDEST} at least.")


@check("postgresql-durability", "fsync, full_page_writes and synchronous_commit are on")
def durability(installation: Installation) -> Iterator[Remark]:
    """What is committed is on the disk: Redis forgets it then."""
    with database_errors(), installation.engine.connect() as connection:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            if _asked(connection, f"SHOW {name}") == "off":
                yield error(
                    f"{name} is off: after a crash, progress that Redis has let go may be missing", f"Set {name} = on."
                )


@check("migrations", "PostgreSQL has the tables of this version")
def migrations(installation: Installation) -> Iterator[Remark]:
    """The database is at this version's migration."""
    with database_errors(), installation.engine.connect() as connection:
        head = ScriptDirectory.from_config(alembic_config(connection)).get_current_head()
        current = MigrationContext.configure(connection).get_current_revision()
    if current == head:
        yield ok(f"at {head}")
    elif current is None:
        yield error("PostgreSQL has no tables of ours", "Run `questline migrate`.")
    else:
        yield error(
            f"PostgreSQL is at migration {current}, this version is at {head}",
            "Run `questline migrate`, or update this installation if PostgreSQL is newer.",
        )


@check("partitions", "there is a partition for every day that events may have, and the days ahead")
def partitions(installation: Installation) -> Iterator[Remark]:
    """Events of any day find their place."""
    now = datetime.now(UTC)
    wanted = {partition_name(day, EVENTS) for day in days_around(now, installation.settings.max_lateness, ahead=1)}
    wanted |= {partition_name(day, EVALUATIONS) for day in days_around(now, timedelta(), ahead=1)}
    with database_errors(), installation.engine.connect() as connection:
        missing = sorted(wanted - set(connection.exec_driver_sql(_PARTITIONS).scalars()))
    if missing:
        yield warning(
            f"{len(missing)} partitions are missing, the first is {missing[0]}",
            "Run `questline migrate`, which makes them, and look whether beat runs; a flush makes what it needs.",
        )


@check("rules", "the rules are published, and this version can read them")
def rules(installation: Installation) -> Iterator[Remark]:
    """Workers know what events mean."""
    with database_errors(), installation.engine.connect() as connection:
        newest = int(_asked(connection, "SELECT coalesce(max(revision), 0) FROM rule_publications"))
    if not newest:
        yield error("no rules are published: events are accepted, and wait", "Run `questline rules publish FILE`.")
        return
    try:
        found = load(installation.engine, parse_stored, since_us=0).newest
    except ConfigurationError:
        found = None
    if found is None or found.revision < newest:
        yield error(f"publication {newest} cannot be read by this version", "Update all processes to its version.")
    else:
        yield ok(f"publication {newest}, {len(found.rulebook.goals)} goals")


@check("dead-letters", "what could not be processed, by reason")
def dead_letters(installation: Installation) -> Iterator[Remark]:
    """Everything accepted was processed."""
    with database_errors(), installation.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT reason, count(*) FROM dead_letters GROUP BY 1 ORDER BY 2 DESC").all()
    for reason, number in found:
        yield warning(
            f"{number:,} dead letters: {reason}", "Look at `questline dlq groups`, then redrive or discard them."
        )


@check("api-keys", "who may come in: no keys only on loopback; keys that expire soon or that nobody uses")
def api_keys(installation: Installation) -> Iterator[Remark]:
    """The API keys are as they should be."""
    now = datetime.now(UTC)
    with database_errors(), installation.engine.connect() as connection:
        known = int(_asked(connection, "SELECT count(*) FROM api_keys"))
        valid = connection.exec_driver_sql(_KEYS).all()
    host = installation.settings.http_host
    if not known and not is_loopback(host):
        yield error(f"there are no API keys, and HTTP_HOST is {host}", "Run `questline keys create`.")
    if known and not valid:
        yield error("every API key is revoked or has expired: nobody can come in", "Run `questline keys create`.")
    for key in valid:
        # A rotated key is meant to end after its grace, and cannot be rotated again.
        if key.replaced_by is None and key.expires_at is not None and key.expires_at < now + _EXPIRES_SOON:
            yield warning(
                f"key {key.key_id} expires on {key.expires_at:%Y-%m-%d}", f"Run `questline keys rotate {key.key_id}`."
            )
        elif key.touched_at < now - _UNUSED:
            yield warning(
                f"nobody has used key {key.key_id} since {key.touched_at:%Y-%m-%d}",
                f"Run `questline keys revoke {key.key_id}` if nobody needs it.",
            )


def _asked(connection: Connection, statement: str) -> Any:
    return connection.exec_driver_sql(statement).scalar_one()
