"""Users' attributes as one thing: Redis where they are cached, else PostgreSQL."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from config.shards import shard_for
from models.attributes import Attributes
from models.database.attributes import AttributeStore
from models.errors import DatabaseUnavailableError, RetryableError, StateUnavailableError
from models.state.attributes import AttributeCache, User

log = structlog.get_logger()


@dataclass(slots=True)
class UserAttributes:
    """Reads and replaces the attributes of users."""

    cache: AttributeCache
    store: AttributeStore
    shards: int
    """May be set while requests come."""

    def of_shard(self, shard: int, users: Sequence[User], *, may_ask: bool = True) -> dict[User, Attributes]:
        """The attributes of users of one shard, each (tenant, user) once: one read of Redis, at most one query.

        Raises:
            StateUnavailableError: Redis did not answer.
            DatabaseUnavailableError: Redis does not have them all, and PostgreSQL did not answer, or must not be asked
                again (``may_ask``), since each time may take as long as a time limit.
        """
        known = self.cache.read(shard, users)
        missing = [user for user in users if user not in known]
        if missing and not may_ask:
            raise DatabaseUnavailableError("PostgreSQL did not answer a moment ago")
        if missing:
            found = self.store.read(missing)
            self.cache.fill(shard, found)
            known |= found
        return known

    def cached(self, tenant_id: str, user_id: str) -> Attributes | None:
        """One user's attributes as Redis has them; None where PostgreSQL must be asked."""
        user = (tenant_id, user_id)
        try:
            return self.cache.read(shard_for(tenant_id, user_id, self.shards), [user]).get(user)
        except StateUnavailableError as error:
            log.warning("attributes_read_without_redis", error=str(error))
            return None

    def of_user(self, tenant_id: str, user_id: str) -> Attributes:
        """One user's attributes, also while Redis is away.

        Raises:
            DatabaseUnavailableError: Redis does not have them, and PostgreSQL did not answer.
        """
        user = (tenant_id, user_id)
        try:
            return self.of_shard(shard_for(tenant_id, user_id, self.shards), [user])[user]
        except StateUnavailableError as error:
            log.warning("attributes_read_without_redis", error=str(error))
            return self.store.read([user])[user]

    def replace(self, tenant_id: str, user_id: str, attributes: Attributes) -> None:
        """Put attributes instead of all that the user had.

        Raises:
            StateUnavailableError, DatabaseUnavailableError: Redis or PostgreSQL did not answer; try again.
        """
        user, shard = (tenant_id, user_id), shard_for(tenant_id, user_id, self.shards)
        try:
            # The cache is written while the row is locked, so the last to commit is the last to be cached.
            with self.store.replacing(user, attributes):
                self.cache.put(shard, user, attributes)
        except RetryableError:
            with suppress(StateUnavailableError):
                self.cache.drop(shard, user)
            raise
