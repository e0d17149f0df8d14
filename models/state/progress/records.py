"""Users' records: applying, hydrating, reading, acknowledging what was flushed.

A record is a hash with one field per goal and period, holding a packed ``Row``, and these fields of its own:

* ``@loaded``: the shard's epoch (``histories.py``) once the record holds what PostgreSQL knows, else the token of the
  load under way. A record of another epoch counts as one that is not loaded
* ``@tenant``, ``@user``: whose record it is
* ``@dirty``: when (µs) it began to differ from PostgreSQL; absent while it does not
* ``@flushed``: the version up to which PostgreSQL has it
* ``@noted``: the version of the last call that added ids and moved no row
* ``@seen``, ``@seen_before``: the dedup generations of the user's two newest sets of event ids

A packed row is its version in 16 digits, so that a flush can tell what changed without unpacking, and then the row in
msgpack.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, NamedTuple

import msgpack
from redis import Redis

from models.errors import RulesOutdatedError
from models.events import remembered_for
from models.rules.rows import Row, Snapshot
from models.state.connection import state_errors, with_none_for_other_types
from models.state.fleet.fences import revision_of
from models.state.flush_reads import ReadTrace
from models.state.keys import dedup_bucket_at, epoch_of, member, record_key, seen_key, shard_keys, stream_keys
from models.state.progress.apply_request import FIELD_MARK, ApplyRequest, UserRequest, field_of
from models.state.progress.script_text import script_text
from models.state.queue.call_parts import USER_WEIGHT, in_parts
from models.state.scripts import Script, register
from models.wire import ApplyReply, Flushed, Hydrated, Limit

EvaluationLog = Literal["off", "transitions", "all"]
"""Which evaluations are written down: none, changes of status, or every step."""

PAST_FIELDS = 1_000
"""Rows of past periods that leave a record at a time; the others leave with a later flush, or with the record."""
_READ_TOGETHER = 100
"""Records of a flush that are read in one transaction, so that Redis is not busy with it for long."""
_EVALUATION_MODES: tuple[EvaluationLog, ...] = ("off", "transitions", "all")


class ColdUser(NamedTuple):
    """A user whose record must be loaded from PostgreSQL first, and the token that loading must present."""

    request: UserRequest
    token: bytes


class Applied(NamedTuple):
    """What one call of the apply script did."""

    events: int
    duplicates: int
    unlocks: int
    dirty_users: int
    """Of the whole shard, after the call."""
    cold: list[ColdUser]


class DirtyRecord(NamedTuple):
    """A user's rows that PostgreSQL does not have yet, as read for a flush."""

    shard: int
    member: str
    tenant_id: str
    user_id: str
    rows: list[Row]
    record_version: int
    """The newest version read; the user may be acknowledged only while this is its newest."""
    is_lost: bool
    """The record was evicted and is loaded again, without the newest change: that is in PostgreSQL, or nowhere."""
    dirty_since: int
    """Microseconds since the epoch."""
    past_fields: list[str]
    """Fields of past periods that the record need not keep once they are flushed."""


class Records:
    """The records of all shards."""

    def __init__(
        self,
        redis: Redis,
        *,
        window: timedelta,
        record_ttl: timedelta,
        evaluation_log: EvaluationLog = "transitions",
    ) -> None:
        self._redis = redis
        self._evaluation_mode = _EVALUATION_MODES.index(evaluation_log)
        self._window = window
        self._seen_ttl_ms = 2 * remembered_for(window) // timedelta(milliseconds=1)
        self._record_ttl_ms = record_ttl // timedelta(milliseconds=1)
        self._apply = Script(redis, script_text("apply_events"))
        self._hydrate = register(redis, "hydrate_users")
        self._acknowledge = register(redis, "acknowledge_users")
        self._forget = register(redis, "forget_users")

    def apply(self, shard: int, batch_ids: Sequence[str], request: ApplyRequest, *, now_us: int) -> Applied:
        """Apply batches, or the users of them that ``request`` names, in one atomic step (promise P2).

        Raises:
            StateUnavailableError: the state Redis did not answer. Applying again is safe.
            RulesOutdatedError: newer rules were published than the request was made with; nothing was done.
        """
        keys: list[str] = [*shard_keys(shard), *stream_keys(shard)]
        dedup_bucket = dedup_bucket_at(now_us, self._window)
        for user in request.users:
            keys.append(record_key(shard, user.member))
            keys.extend(seen_key(shard, user.member, dedup_bucket + shift) for shift in (-1, 0, 1))
        args: list[bytes | str | int] = [
            request.pack(),
            request.packed,
            msgpack.packb(batch_ids),
            now_us,
            dedup_bucket,
            self._seen_ttl_ms,
            self._record_ttl_ms,
            request.revision,
            self._evaluation_mode,
            request.known_revision,
        ]
        with state_errors():
            reply = self._apply(keys=keys, args=args)
        if len(reply) == 1:
            raise RulesOutdatedError(revision_of(reply[0]))
        done = ApplyReply(*reply)
        cold = [ColdUser(request.users[index], token) for index, token in done.cold]
        return Applied(done.events, done.duplicates, done.unlocks, done.dirty_users, cold)

    def load(self, shard: int, loads: Sequence[tuple[bytes, Snapshot]], *, now_us: int) -> int:
        """Fill cold records with what PostgreSQL knows; returns how many were still waiting for it."""
        return sum(self._load(shard, part, now_us=now_us) for part in in_parts(loads, _weight_of_load))

    def _load(self, shard: int, loads: Sequence[tuple[bytes, Snapshot]], *, now_us: int) -> int:
        dedup_bucket = dedup_bucket_at(now_us, self._window)
        keys, users = [shard_keys(shard).record_version, shard_keys(shard).history], []
        for token, known in loads:
            name = member(known.tenant_id, known.user_id)
            keys += [record_key(shard, name), *(seen_key(shard, name, dedup_bucket + shift) for shift in (-1, 0, 1))]
            rows = [part for row in known.rows for part in (field_of(row.goal_id, row.period), pack_row(row))]
            floor = max((row.record_version for row in known.rows), default=0)
            users.append(Hydrated(token, known.tenant_id, known.user_id, floor, known.hashes, rows))
        # Lua's msgpack has one type for texts and bytes.
        packed = msgpack.packb(users, use_bin_type=False)
        with state_errors():
            loaded: int = self._hydrate(keys=keys, args=[packed, dedup_bucket, self._seen_ttl_ms])
        return loaded

    def read(self, shard: int, tenant_id: str, user_id: str) -> list[Row] | None:
        """A user's rows, or None if the record is not in Redis, not loaded yet, or of a history that ends.

        So it is where its key holds something else.
        """
        with state_errors(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hmget(shard_keys(shard).history, "epoch", "closed")
            pipeline.hgetall(record_key(shard, member(tenant_id, user_id)))
            told, fields = with_none_for_other_types(pipeline.execute(raise_on_error=False))
        epoch, closed = told or (None, b"not known")
        if closed or not _is_loaded(fields, epoch_of(epoch)):
            return None
        return [unpack_row(packed) for packed in _packed_rows(fields).values()]

    def has_all(self, shard: int, users: Collection[tuple[str, str]]) -> bool:
        """Whether the records of all these users are in Redis, each (tenant, user).

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        with state_errors():
            found: Any = self._redis.exists(*(record_key(shard, member(*user)) for user in users))
        return bool(found == len(users))

    def dirty_members(self, shard: int, limit: int) -> list[bytes]:
        """Users of a shard that PostgreSQL is behind on, those waiting longest first."""
        if limit <= 0:
            return []
        with state_errors():
            members: Any = self._redis.zrange(shard_keys(shard).dirty, 0, limit - 1)
        return list(members)

    def dirty_among(self, shard: int, members: Sequence[str]) -> list[bytes]:
        """Those of these users, named by ``member``, that PostgreSQL is behind on."""
        if not members:
            return []
        with state_errors():
            scores: Any = self._redis.zmscore(shard_keys(shard).dirty, list(members))
        return [name.encode() for name, score in zip(members, scores, strict=True) if score is not None]

    def read_dirty(
        self, shard: int, members: Sequence[bytes], trace: ReadTrace, *, oldest: Mapping[int, str]
    ) -> list[DirtyRecord]:
        """What must be flushed of these users; one whose record is gone, or not loaded again yet, is left out.

        Rows of periods before ``oldest``, which has a key for each length of keys, may leave Redis afterwards.

        Raises:
            StateUnavailableError: the state Redis did not answer.
            HistoryChangedError: it went back in time since the flush began to read.
        """
        found = []
        for first in range(0, len(members), _READ_TOGETHER):
            found += self._read_dirty(shard, members[first : first + _READ_TOGETHER], trace, oldest)
        return found

    def _read_dirty(
        self, shard: int, members: Sequence[bytes], trace: ReadTrace, oldest: Mapping[int, str]
    ) -> list[DirtyRecord]:
        with state_errors(), self._redis.pipeline(transaction=True) as pipeline:
            trace.count(pipeline)
            pipeline.hget(shard_keys(shard).history, "epoch")
            # Before the records: each then holds what the score stands for, unless that was evicted.
            pipeline.zmscore(shard_keys(shard).dirty, [name.decode() for name in members])
            for name in members:
                pipeline.hgetall(record_key(shard, name.decode()))
            counted, _, epoch, scores, *records = with_none_for_other_types(pipeline.execute(raise_on_error=False))
        trace.check(counted)
        return [
            _dirty_record(shard, name.decode(), int(score or 0), fields, oldest)
            for name, score, fields in zip(members, scores, records, strict=True)
            if _is_loaded(fields, epoch_of(epoch))
        ]

    def forget_lost(self, shard: int, members: Sequence[bytes]) -> int:
        """Let users go whose records are gone, or not loaded again yet; returns how many those are."""
        return sum(self._forget_lost(shard, part) for part in in_parts(members, lambda _name: USER_WEIGHT))

    def _forget_lost(self, shard: int, members: Sequence[bytes]) -> int:
        with state_errors():
            gone: int = self._forget(
                keys=[
                    shard_keys(shard).dirty,
                    shard_keys(shard).history,
                    *(record_key(shard, name.decode()) for name in members),
                ],
                args=list(members),
            )
        return gone

    def acknowledge(self, shard: int, records: Sequence[DirtyRecord], *, read_us: int, token: str) -> int:
        """Mark records as flushed up to what was read; returns how many users are clean now (promise P6).

        They were committed by the flush of that token; a Redis that does not know it any more is left as it is.
        """
        parts = in_parts(records, lambda record: USER_WEIGHT + min(len(record.past_fields), PAST_FIELDS))
        return sum(self._acknowledge_part(shard, part, read_us=read_us, token=token) for part in parts)

    def _acknowledge_part(self, shard: int, records: Sequence[DirtyRecord], *, read_us: int, token: str) -> int:
        users = [Flushed(record.member, record.record_version, record.past_fields[:PAST_FIELDS]) for record in records]
        with state_errors():
            acknowledged: int = self._acknowledge(
                keys=[
                    shard_keys(shard).dirty,
                    shard_keys(shard).history,
                    *(record_key(shard, record.member) for record in records),
                ],
                args=[self._record_ttl_ms, read_us, msgpack.packb(users), token],
            )
        return acknowledged

    def dirty_counts(self, shards: int) -> list[int]:
        """The number of dirty users of each shard, in one round trip."""
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for shard in range(shards):
                pipeline.zcard(shard_keys(shard).dirty)
            counts: list[int] = pipeline.execute()
        return counts

    def oldest_change(self, shards: int) -> int:
        """Since when (µs) PostgreSQL lacks a change; 0 when it has them all. Looks at one user a shard."""
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for shard in range(shards):
                pipeline.zrange(shard_keys(shard).dirty, 0, 0)
            firsts = pipeline.execute()
            for shard, names in enumerate(firsts):
                for name in names:
                    pipeline.hget(record_key(shard, name.decode()), "@dirty")
            return min((int(since) for since in pipeline.execute() if since), default=0)


def _weight_of_load(load: tuple[bytes, Snapshot]) -> int:
    return USER_WEIGHT + len(load[1].rows) + len(load[1].hashes) // 4


def pack_row(row: Row) -> bytes:
    """The stored form of a row; see the module's text."""
    packed: bytes = msgpack.packb(row.packed_fields())
    return b"%016d" % row.record_version + packed


def unpack_row(packed: bytes) -> Row:
    """Read the stored form of a row."""
    return Row.of_packed(msgpack.unpackb(packed[Limit.VERSION_DIGITS :]))


def _is_loaded(fields: Mapping[bytes, bytes] | None, epoch: str) -> bool:
    return fields is not None and fields.get(b"@loaded", b"").decode() == epoch


def _packed_rows(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {field: packed for field, packed in fields.items() if FIELD_MARK in field}


def _dirty_record(
    shard: int, name: str, score: int, fields: dict[bytes, bytes], oldest: Mapping[int, str]
) -> DirtyRecord:
    flushed = int(fields.get(b"@flushed", b"0"))
    rows = _packed_rows(fields)
    record_versions = {field: int(packed[: Limit.VERSION_DIGITS]) for field, packed in rows.items()}
    return DirtyRecord(
        shard=shard,
        member=name,
        tenant_id=fields[b"@tenant"].decode(),
        user_id=fields[b"@user"].decode(),
        rows=[unpack_row(packed) for field, packed in rows.items() if record_versions[field] > flushed],
        record_version=max([score, *record_versions.values()]),
        is_lost=score > max(record_versions.values(), default=0),
        dirty_since=int(fields.get(b"@dirty", b"0")),
        past_fields=[field.decode() for field in rows if is_past(field.rpartition(FIELD_MARK)[2].decode(), oldest)],
    )


def is_past(period: str, oldest: Mapping[int, str]) -> bool:
    """Whether a period ended so long ago that no event can reach it; ``oldest`` has a key for each length of keys."""
    return period != "" and period < oldest.get(len(period), "")
