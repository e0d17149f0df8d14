"""Repairing users' records while events go on: look at a record, work out what it must hold, put that in its place.

Whatever happens to the user between looking and putting is noticed by what the record looked like: every event that
counts adds its id to the user's sets of ids, every load and every flush changes fields of the record.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

import msgpack
from redis import Redis

from models.events import remembered_for
from models.rules.rows import Row
from models.state.connection import state_errors, with_none_for_other_types
from models.state.keys import epoch_of, generation_at, member, record_key, seen_key, shard_keys
from models.state.progress.apply_request import FIELD_MARK, field_of
from models.state.progress.records import unpack_row
from models.state.scripts import register
from models.wire import Repaired

_STAMP_LIMIT = 2**53 - 2**20
"""Stamps are numbers that Lua knows exactly; one this high was never drawn."""


class Sighting(NamedTuple):
    """A user's record as it was at one moment."""

    tenant_id: str
    user_id: str
    generation: int
    """The dedup generation of the moment."""
    looks: tuple[str, ...]
    """What the script compares; see ``repair_user.lua``."""
    rows: list[Row] | None
    """None where the record is not in Redis, or not loaded yet."""
    flushed: int
    """The stamp up to which PostgreSQL has the record."""
    is_dirty: bool


class Replacement(NamedTuple):
    """What a user's record shall be."""

    rows: list[Row]
    """All its rows; each gets the new stamp."""
    hashes: list[str]
    """Identity hashes of the user's recent events."""
    floor: int
    """The highest stamp that anybody has of the user."""


class RecordRepairs:
    """Looks at users' records and replaces their rows."""

    def __init__(self, redis: Redis, *, window: timedelta, record_ttl: timedelta) -> None:
        self._redis = redis
        self._window = window
        self._seen_ttl_ms = 2 * remembered_for(window) // timedelta(milliseconds=1)
        self._record_ttl_ms = record_ttl // timedelta(milliseconds=1)
        self._repair = register(redis, "repair_user")

    def look(self, shard: int, users: Sequence[tuple[str, str]], *, now_us: int) -> list[Sighting]:
        """The records of (tenant, user) of one shard, all at one moment.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        generation = generation_at(now_us, self._window)
        with state_errors(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hget(shard_keys(shard).history, "epoch")
            for tenant_id, user_id in users:
                name = member(tenant_id, user_id)
                pipeline.hgetall(record_key(shard, name))
                pipeline.zscore(shard_keys(shard).dirty, name)
                for shift in (-1, 0, 1):
                    pipeline.scard(seen_key(shard, name, generation + shift))
            epoch, *replies = with_none_for_other_types(pipeline.execute(raise_on_error=False))
        return [
            _sighting(user, generation, epoch_of(epoch), *replies[5 * place : 5 * place + 5])
            for place, user in enumerate(users)
        ]  # fmt: skip

    def put(self, shard: int, sighting: Sighting, replacement: Replacement, *, now_us: int) -> bool:
        """Replace a user's record, if nothing has happened to it since it was looked at; tells whether it was done.

        Raises:
            StateUnavailableError: the state Redis did not answer; whether it was done is not known.
            ValueError: the floor is no stamp that was ever drawn.
        """
        if replacement.floor >= _STAMP_LIMIT:
            raise ValueError(f"a stamp of {replacement.floor} was never drawn")
        name = member(sighting.tenant_id, sighting.user_id)
        fields = [part for row in replacement.rows for part in (field_of(row.goal_id, row.period), row.packed_fields())]
        user = Repaired(sighting.tenant_id, sighting.user_id, name, replacement.floor, replacement.hashes, fields)
        keys = shard_keys(shard)
        with state_errors():
            done: int = self._repair(
                keys=[
                    *(keys.stamp, keys.dirty, record_key(shard, name)),
                    *(seen_key(shard, name, sighting.generation + shift) for shift in (-1, 0, 1)),
                    keys.history,
                ],
                # Lua's msgpack has one type for texts and bytes.
                args=[
                    *(msgpack.packb(part, use_bin_type=False) for part in (sighting.looks, user)),
                    *(sighting.generation, self._seen_ttl_ms, self._record_ttl_ms, now_us),
                ],
            )
        return done == 1


def _sighting(
    user: tuple[str, str],
    generation: int,
    epoch: str,
    found: dict[bytes, bytes] | None,
    score: float | None,
    *sizes: int | None,
) -> Sighting:
    fields = found or {}  # a key that holds something else looks like none, and the script replaces neither
    loaded, flushed = (fields.get(name, b"").decode() for name in (b"@loaded", b"@flushed"))
    rows = [unpack_row(packed) for field, packed in fields.items() if FIELD_MARK in field]
    score_text = "" if score is None else f"{score:.0f}"
    return Sighting(
        *user,
        generation,
        (epoch, loaded, flushed, score_text, *map(str, sizes)),
        rows if loaded == epoch else None,
        int(flushed or 0),
        is_dirty=score is not None,
    )
