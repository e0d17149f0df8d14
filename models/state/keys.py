"""Every Redis key Questline uses, made here and nowhere else.

All keys of one shard share its hash tag, so that each script stays in one cluster slot:

| key | type | holds |
|---|---|---|
| ``ql:{sNN}:u:<tenant>:<user>`` | hash | a user's record, see ``records.py`` |
| ``ql:{sNN}:seen:<tenant>:<user>:<dedup_bucket>`` | set | hashes of the event ids applied in one dedup bucket |
| ``ql:{sNN}:attr:<tenant>:<user>`` | string | a user's attributes as JSON, cached; ``attr@<epoch>`` after a reset |
| ``ql:{sNN}:dirty`` | zset | member ``<tenant>:<user>`` by the version of its last change |
| ``ql:{sNN}:stamp`` | int | the shard's counter of changes |
| ``ql:{sNN}:history`` | hash | which history the shard is in, and its last flush, see ``histories.py`` |
| ``ql:{sNN}:reads:<flush>`` | int | how many reads a flush has made that is under way; for five minutes |
| ``ql:{sNN}:counts`` | hash | how many events were applied, and how many were duplicates |
| ``ql:{sNN}:log`` | stream | applied batches and unlocks on their way to PostgreSQL |
| ``ql:{sNN}:log:bytes`` | int | size of the batches, unlocks and evaluations in the log |
| ``ql:{sNN}:events:0`` to ``:4`` | stream | the shard's queue: accepted batches not yet applied, see ``journal.py`` |
| ``ql:{sNN}:events:waiting`` | hash | what each tenant has waiting there, and when a worker did something last |
| ``ql:{sNN}:journal:bytes`` | int | size of the queue |
| ``ql:{sNN}:held`` | hash | bytes in queue and log by tenant |
| ``ql:{sNN}:fence`` | string | the lowest revision of rules that a plan may be made with, see ``fences.py`` |
| ``ql:usage:<day>`` | hash | bytes that tenants and keys sent on a day, for their quotas; for two days |
| ``ql:keys`` | string | a copy of the API keys' hashes, which lapses after an hour |
| ``ql:{sNN}:tries:<batch>`` | hash | how workers fared with a batch that came back, see ``attempts.py`` |
| ``ql:poison`` | list | what no worker can take for a task, on its way to PostgreSQL; in the broker |
| ``ql:meters`` | hash | counters and histograms of the fleet |
| ``ql:flush:lock``, ``ql:flush:asked`` | string | the flush that runs now; an early flush was asked for |
| ``ql:dead:depth`` | hash | how many dead letters PostgreSQL has, by kind and reason, and when they were counted |
| ``ql:new-users:<hour>`` | hash | new users by tenant, for three hours |
| ``ql:ticks`` | hash | when each periodic task began last, in µs |
| ``ql:{sNN}:layout`` | hash | by how many shards Redis is laid out, see ``layout.py`` |
| ``ql:installation`` | hash | a copy of the installation's record: its id, the settings all processes share |
| ``ql:{processes}:heard``, ``ql:{processes}:facts`` | zset, hash | processes alive by time; what each says |
| ``ql:beat`` | string | the beat that sends the ticks, for some seconds unless it renews it |
| ``ql:probe`` | string | written by health checks, to see whether writes are taken |
| ``ql:path:passed``, ``ql:path:report``, ``ql:path:faults``, ``ql:path:lease`` | | probes of the whole way, see
``path_state.py`` |

Nothing is ever parsed back out of a key: a user id may hold any printable character. Tenant ids hold no ':',
so two users never share a key. Without a TTL are: the shard's own keys (bounded by the journal's and the buffer's
limits), the metrics and the number of dead letters (fixed sets of fields), the undeliverable messages (a bounded list),
and the record of a dirty user until the flush has acknowledged it.
"""

from datetime import timedelta
from functools import cache
from typing import NamedTuple

from models.events import remembered_for
from models.fleet.histories import FIRST_EPOCH
from models.wire import Limit

API_KEYS = "ql:keys"
METRICS = "ql:meters"
FLUSH_LOCK = "ql:flush:lock"
FLUSH_ASKED = "ql:flush:asked"
DEAD_DEPTH = "ql:dead:depth"
HEARTBEATS = "ql:ticks"
PROBE = "ql:probe"
INSTALLATION = "ql:installation"
PATH_PASSED = "ql:path:passed"
PATH_REPORT = "ql:path:report"
PATH_FAULTS = "ql:path:faults"
PATH_LEASE = "ql:path:lease"
PROCESSES_HEARD = "ql:{processes}:heard"
PROCESS_FACTS = "ql:{processes}:facts"
BEAT_LEASE = "ql:beat"
UNDELIVERABLE = "ql:poison"
UNDELIVERABLE_BYTES = "ql:poison:bytes"


class ShardKeys(NamedTuple):
    """The keys that belong to a shard as a whole, but for its queue."""

    record_version: str
    dirty: str
    counts: str
    log: str
    journal_bytes: str
    log_bytes: str
    held: str
    waiting: str
    fence: str
    history: str


@cache
def shard_keys(shard: int) -> ShardKeys:
    """The keys of one shard."""
    tag = f"ql:{{s{shard:02d}}}"
    return ShardKeys(
        record_version=f"{tag}:stamp",
        dirty=f"{tag}:dirty",
        counts=f"{tag}:counts",
        log=f"{tag}:log",
        journal_bytes=f"{tag}:journal:bytes",
        log_bytes=f"{tag}:log:bytes",
        held=f"{tag}:held",
        waiting=f"{tag}:events:waiting",
        fence=f"{tag}:fence",
        history=f"{tag}:history",
    )


def epoch_of(told: bytes | None) -> str:
    """The epoch that the field of a shard's history says."""
    return FIRST_EPOCH if told is None else told.decode()


STREAMS = Limit.STREAMS
"""Of a shard's queue."""


def stream_keys(shard: int) -> list[str]:
    """The streams of a shard's queue, in the order of ``lua/apply/entries.lua``."""
    return [f"ql:{{s{shard:02d}}}:events:{number}" for number in range(STREAMS)]


def former_journal_keys(shard: int) -> list[str]:
    """Where releases up to 0.2 kept accepted batches: the hash, its index, and what goes with the last of them."""
    journal = f"ql:{{s{shard:02d}}}:journal"
    return [journal, *(f"{journal}:{name}" for name in ("index", "ready", "due", "attempts", "turns"))]


def usage_key(day: str) -> str:
    """What tenants and keys sent on a day (of UTC, in ISO 8601)."""
    return f"ql:usage:{day}"


def trace_key(shard: int, flush: str) -> str:
    """How many reads a flush of a shard has made."""
    return f"ql:{{s{shard:02d}}}:reads:{flush}"


def layout_key(shard: int) -> str:
    """By how many shards Redis is laid out, as this shard knows it."""
    return f"ql:{{s{shard:02d}}}:layout"


def tries_key(shard: int, batch_id: str) -> str:
    """How workers fared with a batch that came back to them."""
    return f"ql:{{s{shard:02d}}}:tries:{batch_id}"


def member(tenant_id: str, user_id: str) -> str:
    """A user's name within the shard: the member of the dirty set and the end of the record's key."""
    return f"{tenant_id}:{user_id}"


RECORD_MARK = b"}:u:"
"""Stands in the key of every record, and of nothing else that is ours and not a user's."""


def record_key(shard: int, user: str) -> str:
    """The record of a user, named by ``member``."""
    return f"ql:{{s{shard:02d}}}:u:{user}"


def new_users_key(hour: int) -> str:
    """How many new users each tenant had in an hour since the epoch."""
    return f"ql:new-users:{hour}"


def attributes_key(shard: int, user: str, epoch: str = FIRST_EPOCH) -> str:
    """The attributes of a user, named by ``member``, that were cached in an epoch of the shard."""
    mark = "" if epoch == FIRST_EPOCH else f"@{epoch}"
    return f"ql:{{s{shard:02d}}}:attr{mark}:{user}"


def seen_key(shard: int, user: str, dedup_bucket: int) -> str:
    """The event ids of a user, named by ``member``, that were applied in one dedup bucket."""
    return f"ql:{{s{shard:02d}}}:seen:{user}:{dedup_bucket}"


def dedup_bucket_at(now_us: int, window: timedelta) -> int:
    """The dedup bucket of a time. An id is looked up in the user's newest bucket and the one before.

    So it is remembered for as long as ``remembered_for(window)`` says, whatever ``occurred_at`` a redelivery
    claims. A worker whose clock is behind, by up to a whole bucket, follows the record.
    """
    return now_us // (remembered_for(window) // timedelta(microseconds=1))
