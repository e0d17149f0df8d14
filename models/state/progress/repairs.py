"""Repairs of users' records by compare-and-set, while events go on.

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
from models.state.keys import dedup_bucket_at, epoch_of, member, record_key, seen_key, shard_keys
from models.state.progress.apply_request import FIELD_MARK, field_of
from models.state.progress.records import unpack_row
from models.state.scripts import register
from models.wire import Repaired

_VERSION_LIMIT = 2**53 - 2**20
"""Versions are numbers that Lua knows exactly; one this high was never drawn."""


class RecordSnapshot(NamedTuple):
    """A user's record as it was at one time."""

    tenant_id: str
    user_id: str
    dedup_bucket: int
    """The dedup bucket at that time."""
    compared: tuple[str, ...]
    """What the script compares; see ``repair_user.lua``."""
    rows: list[Row] | None
    """None where the record is not in Redis, or not loaded yet."""
    flushed: int
    """The version up to which PostgreSQL has the record."""
    is_dirty: bool


class Replacement(NamedTuple):
    """What a user's record shall be."""

    rows: list[Row]
    """All its rows; each gets the new version."""
    hashes: list[str]
    """Identity hashes of the user's recent events."""
    floor: int
    """The highest version known of the user."""


class RecordRepairs:
    """Looks at users' records and replaces their rows."""

    def __init__(self, redis: Redis, *, window: timedelta, record_ttl: timedelta) -> None:
        self._redis = redis
        self._window = window
        self._seen_ttl_ms = 2 * remembered_for(window) // timedelta(milliseconds=1)
        self._record_ttl_ms = record_ttl // timedelta(milliseconds=1)
        self._repair = register(redis, "repair_user")

    def read(self, shard: int, users: Sequence[tuple[str, str]], *, now_us: int) -> list[RecordSnapshot]:
        """The records of (tenant, user) of one shard, all at one time.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        dedup_bucket = dedup_bucket_at(now_us, self._window)
        with state_errors(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hget(shard_keys(shard).history, "epoch")
            for tenant_id, user_id in users:
                name = member(tenant_id, user_id)
                pipeline.hgetall(record_key(shard, name))
                pipeline.zscore(shard_keys(shard).dirty, name)
                for shift in (-1, 0, 1):
                    pipeline.scard(seen_key(shard, name, dedup_bucket + shift))
            epoch, *replies = with_none_for_other_types(pipeline.execute(raise_on_error=False))
        return [
            _snapshot(user, dedup_bucket, epoch_of(epoch), *replies[5 * index : 5 * index + 5])
            for index, user in enumerate(users)
        ]  # fmt: skip

    def compare_and_set(self, shard: int, snapshot: RecordSnapshot, replacement: Replacement, *, now_us: int) -> bool:
        """Replace a user's record, if nothing has happened to it since it was looked at; tells whether it was done.

        Raises:
            StateUnavailableError: the state Redis did not answer; whether it was done is not known.
            ValueError: the floor is no version that was ever drawn.
        """
        if replacement.floor >= _VERSION_LIMIT:
            raise ValueError(f"a version of {replacement.floor} was never drawn")
        name = member(snapshot.tenant_id, snapshot.user_id)
        fields = [part for row in replacement.rows for part in (field_of(row.goal_id, row.period), row.packed_fields())]
        user = Repaired(snapshot.tenant_id, snapshot.user_id, name, replacement.floor, replacement.hashes, fields)
        keys = shard_keys(shard)
        with state_errors():
            done: int = self._repair(
                keys=[
                    keys.record_version,
                    keys.dirty,
                    record_key(shard, name),
                    *(seen_key(shard, name, snapshot.dedup_bucket + shift) for shift in (-1, 0, 1)),
                    keys.history,
                ],
                # Lua's msgpack has one type for texts and bytes.
                args=[
                    *(msgpack.packb(part, use_bin_type=False) for part in (snapshot.compared, user)),
                    snapshot.dedup_bucket,
                    self._seen_ttl_ms,
                    self._record_ttl_ms,
                    now_us,
                ],
            )
        return done == 1


def _snapshot(
    user: tuple[str, str],
    dedup_bucket: int,
    epoch: str,
    found: dict[bytes, bytes] | None,
    score: float | None,
    *sizes: int | None,
) -> RecordSnapshot:
    fields = found or {}  # a key that holds something else looks like none, and the script replaces neither
    loaded, flushed = (fields.get(name, b"").decode() for name in (b"@loaded", b"@flushed"))
    rows = [unpack_row(packed) for field, packed in fields.items() if FIELD_MARK in field]
    score_text = "" if score is None else f"{score:.0f}"
    return RecordSnapshot(
        *user,
        dedup_bucket,
        (epoch, loaded, flushed, score_text, *map(str, sizes)),
        rows if loaded == epoch else None,
        int(flushed or 0),
        is_dirty=score is not None,
    )
