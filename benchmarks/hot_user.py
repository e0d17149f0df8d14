"""One user who has half of all events, next to the same load without such a user: what the other shards feel of it."""

from typing import Any

from benchmarks import freshness
from benchmarks.exactness import drain, prove
from benchmarks.product import running_product
from benchmarks.throughput import HTTP_BATCHED, draw, measure_plan
from tools.loadtest.generator import Plan
from tools.loadtest.report import latency_percentiles
from tools.loadtest.sender import SendReport
from worker.wiring import load_rulebook

_PATIENCE = 90.0


def measure_hot_user(seconds: float, events: int) -> dict[str, Any]:
    """Freshness in the other shards at a steady rate, and the rate of all events, each without and with a hot user.

    Raises:
        IncompleteError: an event or a probe was lost, or something counted twice or is not what the events say.
    """
    figures: dict[str, Any] = {}
    loads: list[SendReport] = []
    with running_product(with_canary_counter=True) as product:
        rulebook = load_rulebook(product.settings)
        measure_plan(product, HTTP_BATCHED, draw(rulebook, HTTP_BATCHED, 5_000))
        for name, change in (("even", _unchanged), ("hot", heat)):
            fresh = freshness.measure(product, rulebook, seconds, change=change, spared_user=0)
            plan = draw(rulebook, HTTP_BATCHED, events)
            change(plan)
            run = measure_plan(product, HTTP_BATCHED, plan)
            loads += [fresh.sent, run.sent]
            figures[name] = {
                "rate": round(run.rate),
                "probes": len(fresh.readable),
                "readable_ms": latency_percentiles(fresh.readable),
                "in_postgresql_ms": latency_percentiles(fresh.in_postgresql),
            }
        drain(product, _PATIENCE)
        return {**figures, **prove(product, *loads)}


def heat(plan: Plan) -> None:
    """Give every second event of a plan to its first user."""
    for index in range(0, plan.distinct, 2):
        plan.user[index] = 0


def _unchanged(_plan: Plan) -> None:
    pass
