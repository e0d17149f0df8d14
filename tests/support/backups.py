"""Redis and PostgreSQL as they were at one moment, to be put back: what a failover, a restore or a power cut does."""

from sqlalchemy import Engine

from models.database.tables import metadata

_COPIES = "backup_"


class StateBackup:
    """All keys of a Redis. Put back, nothing else is in it."""

    def __init__(self, redis):
        self._redis = redis
        self._keys = [(key, redis.dump(key), max(redis.pttl(key), 0)) for key in redis.scan_iter("*", count=1000)]

    def restore(self) -> None:
        self._redis.flushall()
        for key, value, lives_ms in self._keys:
            if value is not None:  # one that had expired by then
                self._redis.restore(key, lives_ms, value, replace=True)


class DatabaseBackup:
    """All tables of a PostgreSQL; there is one at a time."""

    def __init__(self, engine: Engine):
        self._engine = engine
        with engine.begin() as connection:
            for table in metadata.sorted_tables:
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {_COPIES}{table.name}")
                connection.exec_driver_sql(f"CREATE TABLE {_COPIES}{table.name} AS TABLE {table.name}")

    def restore(self) -> None:
        with self._engine.begin() as connection:
            for table in metadata.sorted_tables:
                connection.exec_driver_sql(f"TRUNCATE {table.name}")
                connection.exec_driver_sql(
                    f"INSERT INTO {table.name} OVERRIDING SYSTEM VALUE TABLE {_COPIES}{table.name}"
                )

    def drop(self) -> None:
        with self._engine.begin() as connection:
            for table in metadata.sorted_tables:
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {_COPIES}{table.name}")
