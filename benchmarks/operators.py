"""Redis' time an event, operator by operator: what each costs next to the simple ones.

Every rule set gets the same events of the same users in the same batches, so that one step an event is all that
differs. It works on a shard of its own, which the product around it does not know.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from random import Random
from statistics import median
from time import time_ns
from typing import Any

from redis import Redis

from config.settings import Settings
from models.events import Event, pack_batch
from models.rules.goals import Goal, Rulebook
from models.rules.matcher import Matcher, always
from models.rules.operators import make_rule
from models.rules.rows import Snapshot
from models.rules.rule import Rule
from models.state.connection import connect_state
from models.state.keys import shard_keys
from models.state.progress.apply_request import ApplyRequest, make_request
from models.state.progress.records import Records

SIMPLE = ("count", "sum", "latest", "max", "min")
"""The operators that the others are compared with, by the mean of their times."""
_SHARD = 9_999
_TYPES = ("a", "b", "c", "d", "e")
_HOUR_US = 3_600_000_000
_WEEK_US = 168 * _HOUR_US
_BATCH, _USERS = 250, 200


def _counts(target: int) -> tuple[Rule, ...]:
    return tuple(make_rule(op="count", events=(kind,), target=target) for kind in _TYPES)


def _each(**rule: Any) -> list[Rule]:
    """The same rule on each type of event, so that every event makes one step."""
    return [make_rule(events=(kind,), **rule) for kind in _TYPES]


RULES: dict[str, list[Rule]] = {
    "count": _each(op="count", target=10),
    "sum": _each(op="sum", target=100),
    "latest": _each(op="latest", target=90),
    "max": _each(op="max", target=99),
    "min": _each(op="min", target=1),
    "count, last 7d": _each(op="count", target=10, last=_WEEK_US),
    "distinct of 20": _each(op="distinct", target=20, field="value"),
    "streak": _each(op="streak", target=7, unit="day", grace=1),
    "sequence of 3, within 7d": [
        make_rule(op="sequence", events=events, target=3, within=_WEEK_US) for events in (("a", "b", "c"), ("d", "e"))
    ],
    "all of 5": [make_rule(op="all", of=_counts(5), target=5)],
    "at least 3 of 5": [make_rule(op="at_least", of=_counts(5), target=3)],
    "all of 5, within 7d": [make_rule(op="all", of=_counts(5), target=5, within=_WEEK_US)],
}
"""What is measured: goals' rules, together moved once by every event."""


def measure(settings: Settings, events: int, rounds: int) -> dict[str, float]:
    """Microseconds of Redis an event, by rule set: medians of the rounds, which take turns."""
    redis = connect_state(settings.state)
    taken: dict[str, list[float]] = {name: [] for name in RULES}
    try:
        for number in range(rounds + 1):
            for name, rules in RULES.items():
                spent = _spent(redis, always(_rulebook(rules)), events, seed=number)
                if number:  # the first round loads scripts and warms up
                    taken[name].append(spent)
    finally:
        _forget(redis)
        redis.close()
    return {name: median(times) for name, times in taken.items()}


def ratios(times: Mapping[str, float]) -> dict[str, float]:
    """Each time next to the mean of the simple operators'."""
    simple = sum(times[name] for name in SIMPLE) / len(SIMPLE)
    return {name: time / simple for name, time in times.items()}


def _rulebook(rules: Sequence[Rule]) -> Rulebook:
    return Rulebook(
        tuple(Goal(goal_id=f"g{number}", challenge_id="c", name="g", rule=rule) for number, rule in enumerate(rules))
    )


def _spent(redis: Redis, matcher: Matcher, events: int, *, seed: int) -> float:
    _forget(redis)
    redis.set(shard_keys(_SHARD).fence, "0:benchmark")  # whatever the rules are
    records = Records(redis, window=timedelta(days=7), record_ttl=timedelta(hours=1))
    now = time_ns() // 1_000
    batches = list(_batches(events, now, seed))
    first = make_request(matcher, _first_events(now), b"")
    _load(records, first, now)
    requests = [make_request(matcher, batch, pack_batch(batch)) for batch in batches]
    before = _script_time(redis)
    for request in requests:
        records.apply(_SHARD, [], request, now_us=now)
    return (_script_time(redis) - before) / events


def _load(records: Records, request: ApplyRequest, now: int) -> None:
    """Make every user known, so that no call has to stop for that."""
    cold = records.apply(_SHARD, [], request, now_us=now).cold
    loads = [(user.token, Snapshot(user.request.tenant_id, user.request.user_id, [], [])) for user in cold]
    records.load(_SHARD, loads, now_us=now)


def _first_events(now: int) -> list[Event]:
    return [_event(f"first-{user}", "none", user, now, 0) for user in range(_USERS)]


def _batches(events: int, now: int, seed: int) -> Iterator[list[Event]]:
    random = Random(seed)
    made = [
        _event(f"{seed}-{n}", random.choice(_TYPES), random.randrange(_USERS), now - random.randrange(_WEEK_US), n)
        for n in range(events)
    ]
    yield from (made[start : start + _BATCH] for start in range(0, events, _BATCH))


def _event(event_id: str, kind: str, user: int, occurred_at: int, number: int) -> Event:
    return Event(event_id, kind, "bench", f"user-{user}", occurred_at, occurred_at, number % 100)


def _script_time(redis: Redis) -> int:
    stats: Any = redis.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {}).get("usec", 0))


def _forget(redis: Redis) -> None:
    for key in redis.scan_iter(f"ql:{{s{_SHARD}}}:*", count=1000):
        redis.delete(key)
