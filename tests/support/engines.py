"""The live engine without PostgreSQL, for comparing it with the reference thousands of times.

A user's record is evicted by reading it, writing it as PostgreSQL would, and loading that again.
"""

from dataclasses import dataclass, field
from datetime import timedelta

import orjson
from redis import Redis

from models.events import Event, identity_hash, pack_batch
from models.rules.matcher import Matcher
from models.rules.operators import progress_of
from models.rules.rows import Row, Snapshot
from models.state.event_log import ShardLog
from models.state.keys import member, record_key, shard_keys
from models.state.progress.apply_request import make_request
from models.state.progress.records import EvaluationLog, Records

SHARD = 0
WINDOW = timedelta(days=7)


@dataclass
class LiveEngine:
    """Applies events of any number of users through the Lua script."""

    redis: Redis
    matcher: Matcher
    now_us: int
    evaluation_log: EvaluationLog = "transitions"
    records: Records = field(init=False)
    hashes: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def __post_init__(self):
        self.records = Records(
            self.redis, window=WINDOW, record_ttl=timedelta(hours=1), evaluation_log=self.evaluation_log
        )

        self.redis.set(shard_keys(SHARD).fence, "0:none")  # whatever the rules are

    def apply(self, events: list[Event]) -> None:
        """Apply one batch; users whose record is not there are loaded first."""
        if not events:
            return
        request = make_request(self.matcher, events, pack_batch(events))
        applied = self.records.apply(SHARD, [], request, now_us=self.now_us)
        while applied.cold:
            loads = [
                (user.token, self._snapshot(user.request.tenant_id, user.request.user_id)) for user in applied.cold
            ]
            self.records.load(SHARD, loads, now_us=self.now_us)
            request = request.only([user.request for user in applied.cold])
            applied = self.records.apply(SHARD, [], request, now_us=self.now_us)
        for event in events:
            self.hashes.setdefault((event.tenant_id, event.user_id), []).append(identity_hash(event.event_id))

    def evict(self, tenant_id: str, user_id: str) -> None:
        """Let Redis lose a user's record and event ids; PostgreSQL has them."""
        rows = self.records.read(SHARD, tenant_id, user_id)
        if rows is None:
            return
        self._kept[tenant_id, user_id] = rows
        name = member(tenant_id, user_id)
        self.redis.delete(record_key(SHARD, name))
        for key in self.redis.keys("*:seen:*"):
            self.redis.delete(key)

    def rows(self, tenant_id: str = "t", user_id: str = "u") -> list[Row]:
        """A user's rows; none where there is no record."""
        return self.records.read(SHARD, tenant_id, user_id) or []

    def known_rows(self, tenant_id: str, user_id: str) -> list[Row]:
        """A user's rows, wherever they are."""
        return self._kept.get((tenant_id, user_id)) or self.rows(tenant_id, user_id)

    def entries(self):
        """What was logged, oldest first."""
        return ShardLog(self.redis).read(SHARD, 1000)

    def forget(self) -> None:
        """Empty Redis of this engine's keys."""
        self.redis.flushdb()
        self.redis.set(shard_keys(SHARD).fence, "0:none")
        self.hashes.clear()
        self._kept.clear()

    _kept: dict[tuple[str, str], list[Row]] = field(default_factory=dict)

    def _snapshot(self, tenant_id: str, user_id: str) -> Snapshot:
        rows = self._kept.pop((tenant_id, user_id), [])
        stored = [
            row._replace(
                state=orjson.loads(orjson.dumps(row.state)),
                version_states=orjson.loads(orjson.dumps(row.version_states)),
            )
            for row in rows
        ]
        return Snapshot(tenant_id, user_id, stored, self.hashes.get((tenant_id, user_id), []))


def meaning(row: Row) -> tuple[object, ...]:
    """All of a row that must be a function of the set of events, field by field."""
    return (
        row.goal_id,
        row.period,
        row.operator,
        row.rule_version,
        row.part,
        progress_of(row),
        row.completed_at > 0,
        row.reached_at > 0,
        orjson.loads(orjson.dumps(row.state)),
        orjson.loads(orjson.dumps(list(row.version_states))),
    )


def meanings(rows) -> dict[tuple[str, str], tuple[object, ...]]:
    """Rows by node and period."""
    return {(row.goal_id, row.period): meaning(row) for row in rows}
