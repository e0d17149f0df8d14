"""A PostgreSQL that becomes slow under a steady load: acceptance does not feel it until a bound, and recovers after it.

The load goes on through three times: as usual, with each flush transaction delayed until requests are refused, and
without the delay again until everything is in PostgreSQL. Refused requests are sent again, as clients do.
"""

import asyncio
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import uvloop

from benchmarks.exactness import drain, prove
from benchmarks.product import Product, running_product
from benchmarks.slowness import slow_postgres
from benchmarks.throughput import HTTP_BATCHED, IncompleteError, Load, draw, measure
from tools.loadtest.report import latency_percentiles
from tools.loadtest.requests import Request, http_requests
from tools.loadtest.sender import Pace, SendReport, send
from tools.loadtest.targets import BusyError, HttpTarget, Outcome
from worker.wiring import load_rulebook

RATE = 500
"""Events a second of the load."""
DELAY_SECONDS = 3.0
SETTINGS = {"JOURNAL_MAX_BYTES": str(768 * 1024), "DB_BATCH_SIZE": "200"}
LOAD = Load("slow-postgres", "HTTP, 20 events a request", batch=20, concurrency=16)
_USUAL_SHARE = 0.25
_REFUSED_SECONDS = 3.0
"""How long requests are refused before PostgreSQL is fast again."""
_PATIENCE = 90.0


@dataclass
class _Answers:
    """Seconds that answers took, and how many requests were refused."""

    taken: list[float] = field(default_factory=list)
    refusals: int = 0
    refused: asyncio.Event = field(default_factory=asyncio.Event)


class _WatchedTarget(HttpTarget):
    """Notes each answer in the period that is on."""

    answers = _Answers()

    async def send(self, request: Request) -> Outcome:
        began = monotonic()
        try:
            outcome = await super().send(request)
        except BusyError:
            self.answers.refusals += 1
            self.answers.refused.set()
            raise
        self.answers.taken.append(monotonic() - began)
        return outcome


def measure_slow_postgres(seconds: float) -> dict[str, Any]:
    """Run the three times on a product of its own; the load lasts ``seconds`` and more.

    Raises:
        IncompleteError: something is lost or doubled, or the bound was never reached.
    """
    with running_product(SETTINGS, with_canary_counter=True) as product:
        rulebook = load_rulebook(product.settings)
        measure(product, rulebook, HTTP_BATCHED, 1_000)
        plan = draw(rulebook, LOAD, int(RATE * seconds))
        target = _WatchedTarget(product.http, LOAD.concurrency)
        pace = Pace(concurrency=LOAD.concurrency, rate=RATE, patience=_PATIENCE)
        sending = send(plan, list(http_requests(plan, LOAD.batch)), target, pace)
        usual, slow, after, sent = uvloop.run(_three_times(product, sending, target, _USUAL_SHARE * seconds))
        drained = drain(product, _PATIENCE)
        if sent.distinct_accepted != plan.distinct:
            raise IncompleteError(f"{plan.distinct - sent.distinct_accepted} events were never taken")
        proof = prove(product, sent)
    return {
        "rate": RATE,
        "delay_seconds": DELAY_SECONDS,
        "usual_answer_ms": latency_percentiles(usual.taken),
        "slow_answer_ms": latency_percentiles(slow.taken),
        "after_answer_ms": latency_percentiles(after.taken),
        "refused_requests": slow.refusals + after.refusals,
        "seconds_until_drained": round(drained, 1),
        **proof,
    }


async def _three_times(
    product: Product, sending: Any, target: _WatchedTarget, usual_seconds: float
) -> tuple[_Answers, _Answers, _Answers, SendReport]:
    usual = target.answers = _Answers()
    load = asyncio.create_task(sending)
    await asyncio.sleep(usual_seconds)
    slow = target.answers = _Answers()
    with slow_postgres(product, DELAY_SECONDS):
        await asyncio.wait({load, asyncio.create_task(slow.refused.wait())}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(_REFUSED_SECONDS)
    after = target.answers = _Answers()
    sent: SendReport = await load
    if usual.refusals or not slow.refusals:
        raise IncompleteError(
            f"{usual.refusals} requests were refused before PostgreSQL was slow, {slow.refusals} after"
        )
    return usual, slow, after, sent
