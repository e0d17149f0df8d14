"""Users' attributes in PostgreSQL, where they are kept."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Engine

from models.attributes import Attributes, pack_attributes
from models.database.connection import database_errors, statement


class AttributeStore:
    """The table ``user_attributes``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, users: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Attributes]:
        """The attributes of these (tenant, user) in one query; an empty object where there are none.

        Raises:
            DatabaseUnavailableError: PostgreSQL did not answer.
        """
        known: dict[tuple[str, str], Attributes] = {user: {} for user in users}
        parameters = {"tenant_id": [tenant for tenant, _ in users], "user_id": [user for _, user in users]}
        with database_errors(), self._engine.connect() as connection:
            for row in connection.exec_driver_sql(statement("read_attributes"), parameters):
                known[row.tenant_id, row.user_id] = row.attributes
        return known

    @contextmanager
    def replacing(self, user: tuple[str, str], attributes: Attributes) -> Iterator[None]:
        """Write a user's attributes; they become valid when the block is left without an error.

        Until then those of the same user cannot be written by others.

        Raises:
            DatabaseUnavailableError: PostgreSQL did not answer.
        """
        tenant_id, user_id = user
        parameters = {"tenant_id": tenant_id, "user_id": user_id, "attributes": pack_attributes(attributes).decode()}
        with database_errors(), self._engine.begin() as connection:
            connection.exec_driver_sql(statement("replace_attributes"), parameters)
            yield
