"""Evaluates events: match, run the script, hydrate cold users, run it again."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from models.database.progress import ProgressReader
from models.declarations.metrics import PLANS_REFUSED, USERS_LOADED
from models.errors import (
    AttributesUnknownError,
    DatabaseUnavailableError,
    HydrationRacedError,
    RulesOutdatedError,
    RulesUnreadableError,
    StateUnavailableError,
)
from models.events import Event, pack_batch
from models.failpoints import failpoint
from models.fleet.probes import PROBE_TENANT
from models.rules.matcher import Matcher
from models.rules.rows import Snapshot
from models.state.checks.memory import NewUsers
from models.state.metrics import Metrics
from models.state.progress.apply_request import ApplyRequest, make_requests
from models.state.progress.records import Applied, ColdUser, Records
from tasks.apply.enrichment import Enricher
from tasks.apply.reporter import Reporter

LOADS = 5
"""How often a record may turn cold again while it is being loaded, before the batch is put back."""
MAX_REQUESTS = 5
"""How often rules may be published while events are being planned, before they are put back."""


class Rules(Protocol):
    """The rules as published by now."""

    def matcher(self) -> Matcher:
        """Raises DatabaseUnavailableError, RulesUnreadableError while they are not known."""
        ...

    def knows(self, revision: int | None) -> bool:
        """Whether the fence of a shard takes plans made by these rules; None: there is no fence."""
        ...

    def catch_up(self, revision: int | None) -> None:
        """Read what the fence of a shard asks for; raises the same, and StateUnavailableError."""
        ...


class DirtyLimit(Protocol):
    """Starts an early flush when too many users are dirty."""

    def note(self, dirty_in_shard: int) -> None:
        """Take the number of dirty users of a shard, after each call; raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Applies events to users' records. Applying the same events again changes nothing.

    Its stores try again by themselves where a server is away for a moment (``tasks.retries``).
    """

    rules: Rules
    enricher: Enricher
    records: Records
    reader: ProgressReader
    reporter: Reporter
    metrics: Metrics
    dirty_limit: DirtyLimit
    now_us: Callable[[], int]
    """The clock of the state Redis."""
    new_users: NewUsers
    """Counts whom neither Redis nor PostgreSQL knew."""

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
        calls: list[Applied] = []
        for _ in range(MAX_REQUESTS):
            requests = self._requests(shard, events, packed, batch_ids, may_ask=may_load)
            try:
                self._call_all(shard, requests, batch_ids, calls, may_load=may_load)
            except RulesOutdatedError as error:  # events that were applied already are skipped by their ids
                self._catch_up(error, may_ask=may_load)
            else:
                self.reporter.record(events, self.rules.matcher(), started, calls)
                self.dirty_limit.note(calls[-1].dirty_users)
                return
        raise RulesUnreadableError(f"rules were published again and again while events of shard {shard} were planned")

    def _catch_up(self, outdated: RulesOutdatedError, *, may_ask: bool) -> None:
        """Read the rules that the fence asks for; without ``may_ask`` only another thread may have done so."""
        self.metrics.count(PLANS_REFUSED)
        if may_ask:
            self.rules.catch_up(outdated.revision)
        elif not self.rules.knows(outdated.revision):
            raise DatabaseUnavailableError("PostgreSQL did not answer a moment ago") from outdated

    def _call_all(
        self,
        shard: int,
        requests: Sequence[ApplyRequest],
        batch_ids: Sequence[str],
        calls: list[Applied],
        *,
        may_load: bool,
    ) -> None:
        """Run the script for one plan after another. Only with the last, once all were run, do the entries leave."""
        away: DatabaseUnavailableError | None = None
        for request in requests:
            is_whole = request is requests[-1] and away is None
            try:
                self._call(shard, request, batch_ids if is_whole else [], calls, may_load=may_load)
            except DatabaseUnavailableError as error:  # users of the other plans may all be warm
                away, may_load = error, False
        if away is not None:
            raise away

    def _call(
        self, shard: int, request: ApplyRequest, batch_ids: Sequence[str], calls: list[Applied], *, may_load: bool
    ) -> None:
        """Run the script until no user of the plan is cold; adds what each call did to ``calls``."""
        for _ in range(LOADS):
            calls.append(self.records.apply(shard, batch_ids, request, now_us=self.now_us()))
            cold = calls[-1].cold
            if not cold:
                return
            if not may_load:
                raise DatabaseUnavailableError("PostgreSQL did not answer a moment ago")
            self._load(shard, cold)
            request = request.only([user.request for user in cold])
        raise HydrationRacedError(f"{len(cold)} users of shard {shard} stayed cold through {LOADS} loads")

    def _requests(
        self, shard: int, events: Sequence[Event], packed: bytes, batch_ids: Sequence[str], *, may_ask: bool
    ) -> list[ApplyRequest]:
        matcher = self.rules.matcher()
        names = matcher.attribute_names
        if not names:
            return make_requests(matcher, events, packed)
        try:
            enriched = self.enricher.enrich(shard, events, names, may_ask=may_ask)
        except DatabaseUnavailableError as error:
            if len(batch_ids) > 1:
                raise AttributesUnknownError(str(error)) from error
            raise
        return make_requests(matcher, enriched, pack_batch(enriched))

    def _load(self, shard: int, cold: Sequence[ColdUser]) -> None:
        now_us = self.now_us()
        users = [(user.request.tenant_id, user.request.user_id) for user in cold]
        known = self.reader.snapshots(users, now_us=now_us)
        failpoint("users.loaded", DatabaseUnavailableError)
        loads = [(user.token, snapshot) for user, snapshot in zip(cold, known, strict=True)]
        self.records.load(shard, loads, now_us=now_us)
        real = sum(user.request.tenant_id != PROBE_TENANT for user in cold)
        if real:
            self.metrics.count(USERS_LOADED, real)
        self._count_new(known, now_us)

    def _count_new(self, known: Sequence[Snapshot], now_us: int) -> None:
        new = [one.tenant_id for one in known if not one.rows and not one.hashes and one.tenant_id != PROBE_TENANT]
        if new:
            with suppress(StateUnavailableError):  # a count that is missing harms no event
                self.new_users.add(Counter(new), now_us=now_us)
