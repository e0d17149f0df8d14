"""A burst of 20 times the sustainable rate: what was acknowledged is kept, memory is bounded, 503s end by themselves.

A slow PostgreSQL with small transactions makes the sustainable rate so low that one machine can offer 20 times as much,
and a small ``JOURNAL_MAX_BYTES`` is reached within seconds. Each request of the burst is sent once: what was
answered with 503 stays away. Afterwards the product gets a request for every shard until all of them are taken again.
"""

from dataclasses import dataclass
from time import monotonic
from typing import Any

import uvloop

from benchmarks.exactness import drain, prove
from benchmarks.memory import over_limit, watched_memory
from benchmarks.product import Product, running_product
from benchmarks.slowness import slow_postgres
from benchmarks.throughput import HTTP_BATCHED, IncompleteError, Load, draw, measure
from models.rules.goals import Rulebook
from models.state.connection import connect_state
from tools.loadtest.generator import Plan
from tools.loadtest.report import latency_percentiles
from tools.loadtest.requests import http_requests
from tools.loadtest.sender import Pace, SendReport, send
from tools.loadtest.targets import HttpTarget
from worker.wiring import load_rulebook

FACTOR = 20
"""How many times the sustainable rate is offered."""
DELAY_SECONDS = 0.4
BYTES = 2 * 1024 * 1024
SETTINGS = {"JOURNAL_MAX_BYTES": str(BYTES), "DB_BATCH_SIZE": "100"}
LOAD = Load("burst", "HTTP, 200 events a request", batch=200, concurrency=32)
_CALIBRATION_EVENTS = 3_000
_AFTER = Load("burst-after", "HTTP, one event a request", batch=1, concurrency=32)
_AFTER_EVENTS = 64
_PATIENCE = 120.0
_REDIS_BASE_MIB, _REDIS_FACTOR = 64, 5
"""What Redis may hold: so much for users' records and itself, and so many times ``JOURNAL_MAX_BYTES``."""


@dataclass(frozen=True)
class _Burst:
    sent: SendReport
    peaks: dict[str, int]
    redis_mib: int


def measure_burst(seconds: float) -> dict[str, Any]:
    """Run the burst on a product of its own.

    Raises:
        IncompleteError: something acknowledged is lost or doubled, memory passed its bound, no bound was reached, or
            the product did not take events again.
    """
    with running_product(SETTINGS, with_canary_counter=True) as product:
        rulebook = load_rulebook(product.settings)
        measure(product, rulebook, HTTP_BATCHED, 1_000)  # the first start of everything is no part of it
        with slow_postgres(product, DELAY_SECONDS):
            sustainable = measure(product, rulebook, HTTP_BATCHED, _CALIBRATION_EVENTS).rate
            plan = draw(rulebook, LOAD, int(FACTOR * sustainable * seconds))
            burst = _burst(product, plan, FACTOR * sustainable)
            recovered = _recover(product, rulebook)
        drained = drain(product, _PATIENCE)
        proof = prove(product, burst.sent)
    _check(burst)
    return {
        "sustainable_rate": round(sustainable),
        "wanted_rate": round(FACTOR * sustainable),
        "offered_rate": round(burst.sent.sent / burst.sent.seconds),
        "seconds": round(burst.sent.seconds, 1),
        "offered": burst.sent.sent,
        "refused_requests": burst.sent.busy_retries,
        "due_to_answer_ms": latency_percentiles(burst.sent.latencies),
        "seconds_until_taken_again": round(recovered, 1),
        "seconds_until_drained": round(drained, 1),
        **proof,
        "peak_mib": burst.peaks,
        "redis_used_memory_mib": burst.redis_mib,
    }


def _burst(product: Product, plan: Plan, rate: float) -> _Burst:
    requests = list(http_requests(plan, LOAD.batch))
    pace = Pace(concurrency=LOAD.concurrency, rate=rate, patience=0)
    with connect_state(product.settings.state) as redis, watched_memory(product.pids) as peaks:
        sent = uvloop.run(send(plan, requests, HttpTarget(product.http, LOAD.concurrency), pace))
        used: Any = redis.info("memory")
    return _Burst(sent, peaks, used["used_memory_peak"] // 1024**2)


def _recover(product: Product, rulebook: Rulebook) -> float:
    """Seconds until new events of all shards are taken, PostgreSQL as slow as before."""
    plan = draw(rulebook, _AFTER, _AFTER_EVENTS)
    requests = list(http_requests(plan, _AFTER.batch))
    started = monotonic()
    target = HttpTarget(product.http, _AFTER.concurrency)
    after = uvloop.run(send(plan, requests, target, Pace(concurrency=_AFTER.concurrency, patience=_PATIENCE)))
    if after.distinct_accepted != plan.distinct:
        raise IncompleteError(f"after the burst {plan.distinct - after.distinct_accepted} events were not taken")
    return monotonic() - started


def _check(burst: _Burst) -> None:
    faults = over_limit(burst.peaks)
    redis_bound = _REDIS_BASE_MIB + _REDIS_FACTOR * BYTES // 1024**2
    if burst.redis_mib > redis_bound:
        faults.append(f"Redis used {burst.redis_mib} MiB, its bound is {redis_bound}")
    if not burst.sent.busy_retries:
        faults.append("no request was refused: the bound was not reached")
    if burst.sent.network_retries:
        faults.append(f"{burst.sent.network_retries} requests got no answer")
    if faults:
        raise IncompleteError("; ".join(faults))
