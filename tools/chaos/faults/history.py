"""Faults that take a store back in time, under load.

What only the lost part of a store had is lost. Each fault writes down which events these may be, as the store had them
just before it went back (``Installation.at_risk``): every other acknowledged event must be there in the end.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from random import Random
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from models.database.connection import connect_database
from models.database.tables import metadata
from models.errors import QuestlineError
from models.events import unpack_unchecked
from models.state.connection import connect_state
from models.state.keys import STREAMS, shard_keys, stream_keys
from tools.chaos.faults.failpoints import FAILPOINTS, RESET
from tools.chaos.faults.fault import Category, Fault, Heal, done, missed
from tools.chaos.installation import Installation
from worker.parts import WorkerParts

_BACKUP = "chaos_backup"
_TABLES = sorted((table.name for table in metadata.sorted_tables), key=lambda name: (name != "shard_histories", name))
"""In the order in which a flush locks them: first the histories."""
_SECONDS = 60.0
_DUMP = """
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  found[#found + 1] = { key, math.max(redis.call('PTTL', key), 0), redis.call('DUMP', key) }
end
return found
"""
Dump = Sequence[tuple[bytes, int, bytes]]
"""Every key, its lifetime in milliseconds (0 for ever), and its value."""


def _restore_redis(installation: Installation, _random: Random) -> Heal:
    """Redis as it is now comes back when it is healed, as after a failover to a replica that lagged."""
    try:
        with closing(connect_state(installation.settings.state, socket_timeout=_SECONDS)) as redis:
            dump: Any = redis.eval(_DUMP, 0)
    except RedisError:
        return missed
    return lambda: _replace_redis(installation, dump)


def _empty_redis(installation: Installation, _random: Random) -> Heal:
    return done if _replace_redis(installation, ()) else missed


def _replace_redis(installation: Installation, dump: Dump) -> bool:
    """Put other keys instead of all keys, in one step with looking at what is lost by it."""
    shards = range(installation.settings.shards)
    try:
        with (
            closing(connect_state(installation.settings.state, socket_timeout=_SECONDS)) as redis,
            redis.pipeline(transaction=True) as pipeline,
        ):
            for shard in shards:
                for stream in (*stream_keys(shard), shard_keys(shard).log):
                    pipeline.xrange(stream)
            pipeline.flushall()
            for key, lives_ms, value in dump:
                pipeline.restore(key.decode(), lives_ms, value)
            replies = pipeline.execute()
    except RedisError:
        return False
    for entries in replies[: (STREAMS + 1) * len(shards)]:
        installation.at_risk |= _ids([fields.get(b"b") or fields[b"batch"] for _, fields in entries])
    return True


def _cut_off_reset(failpoint: str) -> Callable[[Installation, Random], Heal]:
    """Redis is emptied, and the process that resets its shards breaks in the middle."""

    def strike(installation: Installation, random: Random) -> Heal:
        installation.arm(failpoint, "kill")
        if _empty_redis(installation, random) is missed:
            installation.disarm(failpoint)
            return missed
        return lambda: installation.disarm(failpoint)

    return strike


def _ids(batches: Iterable[bytes]) -> set[str]:
    return {event.event_id for batch in batches for event in unpack_unchecked(batch)}


def _restore_postgres(installation: Installation, _random: Random) -> Heal:
    """PostgreSQL as it is now comes back when it is healed, and an operator recovers it."""
    if not _with_postgres(installation, _back_up):
        return missed

    def heal() -> bool:
        if not _with_postgres(installation, lambda connection: installation.at_risk.update(_put_back(connection))):
            return False
        installation.wait("recovery", lambda: _fault_of_recovery(installation), _SECONDS)
        return True

    return heal


def _with_postgres(installation: Installation, work: Callable[[Connection], object]) -> bool:
    """Work in one transaction; whether it was committed."""
    engine = connect_database(installation.settings.database_url, application="questline-chaos")
    try:
        with engine.execution_options(isolation_level="REPEATABLE READ").begin() as connection:
            work(connection)
    except SQLAlchemyError:
        return False
    finally:
        engine.dispose()
    return True


def _back_up(connection: Connection) -> None:
    connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {_BACKUP} CASCADE")
    connection.exec_driver_sql(f"CREATE SCHEMA {_BACKUP}")
    for table in _TABLES:
        connection.exec_driver_sql(f"CREATE TABLE {_BACKUP}.{table} AS TABLE public.{table}")


def _put_back(connection: Connection) -> set[str]:
    """Put the backup in place; the events that are lost by it."""
    connection.exec_driver_sql(f"LOCK TABLE {', '.join(f'public.{table}' for table in _TABLES)}")
    lost = connection.exec_driver_sql(
        f"SELECT event_id FROM public.events EXCEPT SELECT event_id FROM {_BACKUP}.events"  # noqa: S608 - fixed names
    )
    ids = {row.event_id for row in lost}
    for table in _TABLES:
        connection.exec_driver_sql(f"TRUNCATE public.{table}")
        connection.exec_driver_sql(f"INSERT INTO public.{table} OVERRIDING SYSTEM VALUE TABLE {_BACKUP}.{table}")
    return ids


def _fault_of_recovery(installation: Installation) -> str | None:
    """What ``questline recover`` does; None once both stores are in step."""
    settings = installation.settings
    engine = connect_database(settings.database_url, application="questline-chaos")
    try:
        with closing(connect_state(settings.state)) as redis:
            watch = WorkerParts(settings, redis, engine).make_history_watch()
            watch.recover()
            return "the stores differ" if watch.compare().differences else None
    except QuestlineError as error:
        return str(error)
    finally:
        engine.dispose()


HISTORY_FAULTS = (
    Fault("redis-restored", Category.SERVERS, (3.0, 3.0), _restore_redis),
    Fault("redis-emptied", Category.SERVERS, (0.0, 0.0), _empty_redis),
    Fault("postgres-restored", Category.SERVERS, (5.0, 60.0), _restore_postgres),
    *(
        Fault(f"{failpoint}:kill", Category.SERVERS, (3.0, 5.0), _cut_off_reset(failpoint))
        for failpoint in FAILPOINTS
        if failpoint.startswith(RESET)
    ),
)
