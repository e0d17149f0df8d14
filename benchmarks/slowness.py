"""A PostgreSQL that is slow at writing events, and can be made fast again without locking anything."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2

from benchmarks.product import Product

_FUNCTION = (
    "CREATE OR REPLACE FUNCTION bench_delay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NULL; END $$"
)
_TRIGGER = "CREATE TRIGGER bench_delay BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION bench_delay()"


@contextmanager
def slow_postgres(product: Product, seconds: float) -> Iterator[None]:
    """Each flush transaction with events takes so many seconds longer while the ``with`` lasts."""
    _execute(product, _FUNCTION.format(f"PERFORM pg_sleep({seconds});"), _TRIGGER)
    try:
        yield
    finally:
        # The trigger stays: dropping it would wait for the transactions that it delays.
        _execute(product, _FUNCTION.format(""))


def _execute(product: Product, *statements: str) -> None:
    with psycopg2.connect(product.settings.database_url) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
