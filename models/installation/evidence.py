"""The number of shards that stored data were laid out by, without a record.

An installation of a release before the record has none. An upgrade at which ``SHARDS`` is changed as well would move
users away from their progress, so what is stored must fit.
"""

from collections.abc import Sequence
from contextlib import suppress

from redis import Redis
from sqlalchemy import Engine

from config.shards import shard_for
from models.database.fleet.installation import UserShard, last_user_shards
from models.errors import ConfigurationError, DatabaseUnavailableError, StateUnavailableError
from models.state.connection import state_errors
from models.state.keys import STREAMS, former_journal_keys, shard_keys, stream_keys

MOST_SHARDS = 1024
_SAMPLE = 200


def check_shards(redis: Redis, engine: Engine, shards: int) -> None:
    """Hold what is stored against a number of shards; a server that does not answer says nothing.

    Raises:
        ConfigurationError: it was laid out by another number.
    """
    with suppress(StateUnavailableError):
        _check_redis(redis, shards)
    with suppress(DatabaseUnavailableError):
        _check(last_user_shards(engine, _SAMPLE), shards, "the stored events were")


def _check_redis(redis: Redis, shards: int) -> None:
    with state_errors(), redis.pipeline(transaction=False) as pipeline:
        for shard in range(MOST_SHARDS):
            keys = shard_keys(shard)
            for stream in stream_keys(shard):  # which stay when they are empty
                pipeline.xlen(stream)
            pipeline.exists(former_journal_keys(shard)[0], keys.log, keys.dirty)
        found = pipeline.execute()
        waiting = [
            shard for shard in range(MOST_SHARDS) if any(found[shard * (STREAMS + 1) : (shard + 1) * (STREAMS + 1)])
        ]
        for shard in waiting:
            pipeline.zrange(shard_keys(shard).dirty, 0, 4)
        members = pipeline.execute()
    beyond = [shard for shard in waiting if shard >= shards]
    if beyond:
        raise _wrong(shards, "what waits in Redis was", at_least=beyond[-1] + 1)
    user_shards = []
    for shard, names in zip(waiting, members, strict=True):
        for name in names:
            tenant_id, _, user_id = name.decode().partition(":")  # a tenant's id holds no ':'
            user_shards.append(UserShard(tenant_id, user_id, shard))
    _check(user_shards, shards, "what waits in Redis was")


def _check(user_shards: Sequence[UserShard], shards: int, what: str) -> None:
    if any(shard_for(user.tenant_id, user.user_id, shards) != user.shard for user in user_shards):
        fits = [number for number in range(1, MOST_SHARDS + 1) if _fits(user_shards, number)]
        raise _wrong(shards, what, fits=fits[:1])


def _fits(user_shards: Sequence[UserShard], shards: int) -> bool:
    return all(shard_for(user.tenant_id, user.user_id, shards) == user.shard for user in user_shards)


def _wrong(shards: int, what: str, *, fits: Sequence[int] = (), at_least: int = 0) -> ConfigurationError:
    other = f"SHARDS={fits[0]}" if fits else f"a SHARDS of at least {at_least}" if at_least else "other numbers"
    return ConfigurationError(
        f"SHARDS is {shards} here, but {what} laid out by {other}: set it as it was; "
        f"`questline shards resize {shards}` changes it on a running installation"
    )
