"""The newest probe of each shard that came to PostgreSQL, in a table of its own."""

from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from models.database.connection import database_errors
from models.fleet.probes import ProbeRow

_WRITE = """
INSERT INTO probes AS known (shard, number) VALUES (%(shard)s, %(number)s)
ON CONFLICT (shard) DO UPDATE SET number = excluded.number, written_at = now() WHERE known.number < excluded.number
"""


def write_probes(connection: Connection, probes: Sequence[ProbeRow]) -> None:
    """Note probes in a flush's transaction, in the order of shards, so that two flushes cannot deadlock."""
    newest = {probe.shard: probe.number for probe in sorted(probes)}
    for shard, number in newest.items():
        connection.exec_driver_sql(_WRITE, {"shard": shard, "number": number})


class ProbeReader:
    """Reads them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def newest(self) -> dict[int, int]:
        """The number of the newest probe, by shard.

        Raises:
            DatabaseUnavailableError: PostgreSQL did not answer.
        """
        with database_errors(), self._engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT shard, number FROM probes").all()
        return {row.shard: row.number for row in found}
