"""Evaluating events of a shard: match them to goals, run the script, load cold users, run it again for those."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.cold.reading import ProgressReader
from models.errors import AttributesUnknownError, DatabaseUnavailableError, HydrationRacedError
from models.events import Event, pack_batch
from models.failpoints import failpoint
from models.hot.meters import Meters
from models.hot.plan import Plan, make_plan
from models.hot.records import Applied, ColdUser, Records
from models.rules.matching import Matcher
from tasks.attributes import Stamp
from tasks.reporting import Reporter
from tasks.retrying import Retries

LOADS = 5
"""How often a record may turn cold again while it is being loaded, before the batch is put back."""


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Applies events to users' records. Applying the same events again changes nothing."""

    matcher: Callable[[], Matcher]
    """The rules as published by now; raises DatabaseUnavailableError, RulesUnreadableError while they are not known."""
    stamp: Stamp
    """Writes users' attributes into their events."""
    records: Records
    reader: ProgressReader
    retries: Retries
    reporter: Reporter
    meters: Meters
    buffer_limit: Callable[[int], None]
    """Told the number of dirty users of the shard after each call; starts an early flush when it is too high."""
    now_us: Callable[[], int]

    def evaluate(
        self, shard: int, events: Sequence[Event], packed: bytes, batch_ids: Sequence[str], *, may_load: bool
    ) -> None:
        """Apply events, which are ``packed`` as one batch, and drop the journal entries that they are.

        Without ``may_load`` PostgreSQL is not asked, and counts as away where it would have to be.

        Raises:
            StateUnavailableError, DatabaseUnavailableError: a server did not answer.
            AttributesUnknownError: of several batches, some need attributes that only PostgreSQL has, which is away.
            HydrationRacedError: a record would not load.
            RulesUnreadableError: there are no rules that this release can read.
        """
        started = self.now_us()
        plan = self._plan(shard, events, packed, batch_ids, may_ask=may_load)
        calls = self._call(shard, plan, batch_ids, may_load=may_load)
        self.reporter.record(events, self.matcher(), started, calls)
        self.buffer_limit(calls[-1].dirty_users)

    def _call(self, shard: int, plan: Plan, batch_ids: Sequence[str], *, may_load: bool) -> list[Applied]:
        calls: list[Applied] = []
        for _ in range(LOADS):
            calls.append(self.retries(self.records.apply, shard, batch_ids, plan, now_us=self.now_us()))
            cold = calls[-1].cold
            if not cold:
                return calls
            if not may_load:
                raise DatabaseUnavailableError("PostgreSQL did not answer a moment ago")
            self._load(shard, cold)
            plan = plan.only([user.plan for user in cold])
        raise HydrationRacedError(f"{len(cold)} users of shard {shard} stayed cold through {LOADS} loads")

    def _plan(
        self, shard: int, events: Sequence[Event], packed: bytes, batch_ids: Sequence[str], *, may_ask: bool
    ) -> Plan:
        matcher = self.matcher()
        names = matcher.attribute_names
        if not names:
            return make_plan(matcher, events, packed)
        try:
            stamped = self._stamped(shard, events, names, may_ask=may_ask)
        except DatabaseUnavailableError as error:
            if len(batch_ids) > 1:
                raise AttributesUnknownError(str(error)) from error
            raise
        return make_plan(matcher, stamped, pack_batch(stamped))

    def _stamped(self, shard: int, events: Sequence[Event], names: frozenset[str], *, may_ask: bool) -> list[Event]:
        if may_ask:
            return self.retries(self.stamp, shard, events, names)
        return self.stamp(shard, events, names, may_ask=False)  # without PostgreSQL a repetition would know no more

    def _load(self, shard: int, cold: Sequence[ColdUser]) -> None:
        now_us = self.now_us()
        users = [(user.plan.tenant_id, user.plan.user_id) for user in cold]
        known = self.retries(self.reader.snapshots, users, now_us=now_us)
        failpoint("users.loaded", DatabaseUnavailableError)
        loads = [(user.token, snapshot) for user, snapshot in zip(cold, known, strict=True)]
        self.retries(self.records.load, shard, loads, now_us=now_us)
        self.meters.count("questline_users_loaded_total", len(cold))
