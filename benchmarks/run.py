"""``make bench``: every figure in one run, on a product of its own.

``python -m benchmarks.run [--json FILE] [--quick] [--only NAME ...]``; what the figures mean is in
``benchmarks/README.md``.
"""

import gc
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import flush, freshness, operators, redis_wipe
from benchmarks.burst import measure_burst
from benchmarks.comparison import running_naive
from benchmarks.hot_user import measure_hot_user
from benchmarks.noisy_neighbour import measure_noisy_neighbour
from benchmarks.product import Product, running_product
from benchmarks.redis_time import measure_redis
from benchmarks.report import NAIVE, Results, as_data, describe, show
from benchmarks.slow_postgres import measure_slow_postgres
from benchmarks.throughput import GRPC, HTTP_BATCHED, HTTP_SINGLE, IncompleteError, Load, Repetition, measure
from models.errors import QuestlineError
from models.rules.goals import Rulebook
from worker.wiring import load_rulebook

Way = Callable[[int], Repetition]
"""Measures one repetition of so many events."""


class Name(StrEnum):
    """What can be measured on its own."""

    HTTP = "http"
    HTTP_SINGLE = "http-single"
    GRPC = "grpc"
    NAIVE = "naive"
    REDIS = "redis"
    FRESHNESS = "freshness"
    FLUSH = "flush"
    OPERATORS = "operators"
    REDIS_WIPE = "redis-wipe"
    BURST = "burst"
    HOT_USER = "hot-user"
    SLOW_POSTGRES = "slow-postgres"
    NOISY_NEIGHBOUR = "noisy-neighbour"


_OVERLOAD = frozenset({Name.BURST, Name.HOT_USER, Name.SLOW_POSTGRES, Name.NOISY_NEIGHBOUR})
"""Measured on request only: each on a product of its own, with settings that would spoil the other figures."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    rounds: int
    events: dict[str, int]
    freshness_seconds: float
    flushes: int
    wipe_seconds: float
    overload_seconds: float


_FULL = Sizes(
    rounds=3,
    events={"http": 150_000, "http-single": 6_000, "grpc": 6_000, NAIVE: 2_000, "redis": 20_000, "operators": 20_000},
    freshness_seconds=20,
    flushes=50,
    wipe_seconds=10,
    overload_seconds=30,
)
_QUICK = Sizes(
    rounds=1,
    events={"http": 10_000, "http-single": 1_000, "grpc": 1_000, NAIVE: 500, "redis": 3_000, "operators": 2_000},
    freshness_seconds=5,
    flushes=10,
    wipe_seconds=4,
    overload_seconds=20,
)
_WARM_UP_SHARE = 10
_LOADS = (HTTP_BATCHED, HTTP_SINGLE, GRPC)
_LOG_COLUMNS = 120
_SAID = Console(stderr=True)


def main(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file too.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Less of everything, in under a minute.")] = False,
    only: Annotated[list[Name] | None, typer.Option(help="Measure this alone; may be repeated.")] = None,
) -> None:
    """Measure the product and the naive design in one run."""
    names = set(only or set(Name) - _OVERLOAD)
    if Name.NAIVE in names:
        names.add(Name.HTTP)  # the ratio is of two figures of one run
    try:
        with _sigterm_as_interrupt(), _SAID.status("starting the product") as status:
            results = _measure(names, _QUICK if quick else _FULL, status.update)
    except QuestlineError as error:
        _SAID.print(f"benchmark: {error}", style="red", highlight=False, markup=False)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    data = as_data(results)
    # Outside a terminal Rich takes 80 columns, too few for these tables.
    show(data, results, Console() if Console().is_terminal else Console(width=_LOG_COLUMNS))
    if json_file is not None:
        json_file.write_text(json.dumps(data, indent=2) + "\n")
    for fault in results.faults:
        _SAID.print(f"benchmark: {fault}", style="red", highlight=False, markup=False)
    if results.faults:
        raise typer.Exit(1)


def _measure(names: set[Name], sizes: Sizes, say: Callable[[str], None]) -> Results:
    results = Results()
    for name, measure_it in _overloads(sizes).items():
        if name in names:
            say(name)
            with _fault_noted(results, name):
                results.overload[name] = measure_it()
    if names - _OVERLOAD:
        _measure_capacity(names, sizes, results, say)
    return results


def _overloads(sizes: Sizes) -> dict[Name, Callable[[], dict[str, Any]]]:
    seconds = sizes.overload_seconds
    return {
        Name.BURST: lambda: measure_burst(seconds),
        Name.HOT_USER: lambda: measure_hot_user(seconds / 2, int(1_500 * seconds)),
        Name.SLOW_POSTGRES: lambda: measure_slow_postgres(seconds),
        Name.NOISY_NEIGHBOUR: lambda: measure_noisy_neighbour(seconds / 2),
    }


def _measure_capacity(names: set[Name], sizes: Sizes, results: Results, say: Callable[[str], None]) -> None:
    with running_product() as product:
        rulebook = load_rulebook(product.settings)
        results.machine.update(describe(product))
        results.loads = {load.name: load for load in _LOADS if load.name in names}
        ways = {load.name: _way(product, rulebook, load) for load in results.loads.values()}
        with ExitStack() as stack:
            if Name.NAIVE in names:
                say("starting the naive design")
                ways[NAIVE] = stack.enter_context(running_naive(product, rulebook)).measure
            _rounds(ways, sizes, results, say)
        if Name.FRESHNESS in names:
            say("freshness")
            with _fault_noted(results, Name.FRESHNESS):
                results.freshness = freshness.measure(product, rulebook, sizes.freshness_seconds)
        if Name.FLUSH in names:
            say("flush")
            results.flush = flush.measure(product.settings, sizes.flushes)
        if Name.REDIS in names:
            say("Redis' time")
            with _fault_noted(results, Name.REDIS):
                results.redis = measure_redis(product, rulebook, sizes.events[Name.REDIS])
        if Name.OPERATORS in names:
            say("Redis' time, operator by operator")
            results.operators = operators.measure(product.settings, sizes.events[Name.OPERATORS], sizes.rounds)
        if Name.REDIS_WIPE in names:  # the last, for it empties the Redis of all
            say("Redis wiped under load")
            with _fault_noted(results, Name.REDIS_WIPE):
                wipes = redis_wipe.measure(product, rulebook, seconds=sizes.wipe_seconds, repetitions=sizes.rounds)
                results.wipes.extend(wipes)


def _rounds(ways: dict[str, Way], sizes: Sizes, results: Results, say: Callable[[str], None]) -> None:
    """Measure all rates round by round, so that a slow spell of the machine meets all of them."""
    for name, way in ways.items():
        say(f"warm-up: {name}")
        with _fault_noted(results, name):
            way(sizes.events[name] // _WARM_UP_SHARE)
    results.repetitions = {name: [] for name in ways}
    for number in range(1, sizes.rounds + 1):
        for name, way in ways.items():
            say(f"round {number} of {sizes.rounds}: {name}, {sizes.events[name]:,} events")
            gc.collect()  # the last plan's garbage is not to be collected in the middle of this one
            with _fault_noted(results, name):
                results.repetitions[name].append(way(sizes.events[name]))


@contextmanager
def _fault_noted(results: Results, name: str) -> Iterator[None]:
    """One figure that cannot be had must not cost the others."""
    try:
        yield
    except IncompleteError as error:
        results.faults.append(f"{name}: {error}")


def _way(product: Product, rulebook: Rulebook, load: Load) -> Way:
    return lambda events: measure(product, rulebook, load, events)


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: in order, and leaving nothing behind."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    typer.run(main)
