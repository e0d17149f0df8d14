"""Quotas: a request past one is refused as a whole.

Events a second are counted by each receiver for itself, in a sliding window; bytes a day over all receivers, in the
state Redis, where each adds what it took every second. So several receivers let so many times as many events through,
and a second's worth of bytes may be sent past the quota of the day. Without Redis each goes on with what it knows.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from math import ceil
from threading import Lock
from time import time

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from models.access.callers import ALL_TENANTS, Caller, Refused
from models.access.quotas import WINDOW_S, Quota, Sent, of_key, of_tenant
from models.declarations.metrics import REQUESTS_REFUSED
from models.errors import QuotaExceededError, StateUnavailableError
from models.state.metrics import Metrics
from models.state.quota_usage import DailyUsage

_DAY = timedelta(days=1)
_NONE = Quota()


class Quotas:
    """What tenants and keys may still send to this receiver. Safe to use from several threads."""

    def __init__(self, default: Quota, usage: DailyUsage, metrics: Metrics, now_us: Callable[[], int]) -> None:
        """``default`` holds for tenants, 0 in it for no bound."""
        self._default = default.over(_NONE)
        self._usage, self._metrics, self._now_us = usage, metrics, now_us
        self._own: Mapping[str, Quota] = {}
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._lock = Lock()
        self._day = ""
        self._sent: dict[str, int] = {}
        self._unpushed: dict[str, int] = {}

    def use(self, own: Mapping[str, Quota]) -> None:
        """Let these quotas hold from now on, by the names of their owners."""
        self._own = own

    def check(self, caller: Caller) -> None:
        """Refuse a request before its body is read.

        Raises:
            QuotaExceededError: the caller's key or tenant may not send another event now.
        """
        for owner, quota in self._bounds(caller, [] if caller.tenant_id == ALL_TENANTS else [caller.tenant_id]):
            self._require(owner, quota, Sent(1, 1))

    def spend(self, caller: Caller, sent: Mapping[str, Sent]) -> None:
        """Count what a request brings, by tenant.

        Raises:
            QuotaExceededError: it is more than may be sent now; then nothing of it counts.
        """
        whole = Sent(sum(one.events for one in sent.values()), sum(one.bytes for one in sent.values()))
        bounds = [
            (owner, quota, sent.get(owner.partition(":")[2], whole) if owner.startswith("tenant:") else whole)
            for owner, quota in self._bounds(caller, sent)
        ]
        for owner, quota, part in bounds:
            self._require(owner, quota, part)
        for owner, quota, part in bounds:
            if quota.events_per_second is not None:
                self._limiter.hit(_window(quota.events_per_second), owner, cost=part.events)
            self._count(owner, part.bytes)

    def push(self) -> None:
        """Tell the other receivers what was sent to this one, and learn what was sent to them.

        Raises:
            StateUnavailableError: the state Redis did not answer; it is told the next time.
        """
        with self._lock:
            day, unpushed = self._today(), self._unpushed
            asked, self._unpushed = dict.fromkeys(self._sent, 0) | unpushed, {}
        if not asked:
            return
        try:
            totals = self._usage.add(day, asked)
        except StateUnavailableError:
            with self._lock:
                for owner, size in unpushed.items():
                    self._unpushed[owner] = self._unpushed.get(owner, 0) + size
            raise
        with self._lock:
            if day == self._day:
                for owner, total in totals.items():
                    self._sent[owner] = total + self._unpushed.get(owner, 0)

    def _bounds(self, caller: Caller, tenants: Iterable[str]) -> Iterable[tuple[str, Quota]]:
        for tenant in tenants:
            owner = of_tenant(tenant)
            yield owner, self._own.get(owner, _NONE).over(self._default)
        if caller.key_id is not None:
            owner = of_key(caller.key_id)
            if owner in self._own:
                yield owner, self._own[owner].over(_NONE)

    def _require(self, owner: str, quota: Quota, part: Sent) -> None:
        rate, size = quota
        if rate is not None and not self._limiter.test(_window(rate), owner, cost=part.events):
            reset = self._limiter.get_window_stats(_window(rate), owner).reset_time
            most = f", at most {rate * WINDOW_S:,} in one request" if part.events > rate * WINDOW_S else ""
            self._refuse(owner, f"{rate:,} events a second{most}", min(WINDOW_S, max(1, ceil(reset - time()))))
        if size is not None and self._sent_today(owner) + part.bytes > size:
            self._refuse(owner, f"{size:,} bytes a day (of UTC)", self._left_of_day_s())

    def _refuse(self, owner: str, bound: str, wait: int) -> None:
        self._metrics.count(REQUESTS_REFUSED, label=Refused.QUOTA_EXCEEDED)
        kind = owner.partition(":")[0]
        raise QuotaExceededError(
            f"this {kind} may send {bound}: nothing of the request was accepted, try again in {wait} s", wait
        )

    def _sent_today(self, owner: str) -> int:
        with self._lock:
            self._today()
            return self._sent.get(owner, 0)

    def _count(self, owner: str, size: int) -> None:
        with self._lock:
            self._today()
            self._sent[owner] = self._sent.get(owner, 0) + size
            self._unpushed[owner] = self._unpushed.get(owner, 0) + size

    def _today(self) -> str:
        """The day of now; a new one begins with nothing sent. Of the old one the last second is not told to others."""
        day = datetime.fromtimestamp(self._now_us() / 1e6, UTC).date().isoformat()
        if day != self._day:
            self._day, self._sent, self._unpushed = day, {}, {}
        return day

    def _left_of_day_s(self) -> int:
        now = datetime.fromtimestamp(self._now_us() / 1e6, UTC)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY
        return max(1, ceil((midnight - now).total_seconds()))


@cache
def _window(per_second: int) -> RateLimitItem:
    return RateLimitItemPerSecond(per_second * WINDOW_S, WINDOW_S)
