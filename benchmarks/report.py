"""A run in figures: as data for machines and as tables for people."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import psutil
import psycopg2
from redis import Redis
from rich.console import Console
from rich.table import Table

from benchmarks.cpu import CpuUse
from benchmarks.flush import ROWS
from benchmarks.freshness import RATE, Freshness
from benchmarks.operators import SIMPLE, ratios
from benchmarks.product import Product
from benchmarks.redis_time import RedisTime
from benchmarks.redis_wipe import Wipe
from benchmarks.throughput import Load, Repetition
from tools.loadtest.report import latency_percentiles

NAIVE = "naive"
_GIB = 1024**3


def machine_shape() -> dict[str, Any]:
    """The machine's shape; nothing that names it."""
    return {
        "processors": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / _GIB),
        "python": platform.python_version(),
    }


@dataclass
class Results:
    """What was measured; what was not asked for stays empty."""

    machine: dict[str, Any] = field(default_factory=machine_shape)
    loads: dict[str, Load] = field(default_factory=dict)
    repetitions: dict[str, list[Repetition]] = field(default_factory=dict)
    """By the load's name, ``NAIVE`` for the naive design."""
    freshness: Freshness | None = None
    flush: Mapping[str, Sequence[float]] = field(default_factory=dict)
    redis: RedisTime | None = None
    operators: Mapping[str, float] = field(default_factory=dict)
    """Microseconds of Redis an event, by rule set."""
    wipes: list[Wipe] = field(default_factory=list)
    overload: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Figures of each overload by their names."""
    faults: list[str] = field(default_factory=list)
    """Why a figure is missing; a run goes on without it."""


def describe(product: Product) -> dict[str, Any]:
    """The versions that matter, and how many workers there are."""
    with psycopg2.connect(product.settings.database_url) as connection:
        postgres = connection.info.server_version
    with Redis.from_url(product.settings.state) as redis:
        server: Any = redis.info("server")
    redis_version = server.get("valkey_version") or server["redis_version"]
    return {
        "postgresql": f"{postgres // 10_000}.{postgres % 10_000}",
        "redis": f"{server.get('server_name', 'redis')} {redis_version}",
        "shard_workers": product.settings.shard_workers,
    }


def as_data(results: Results) -> dict[str, Any]:
    """Everything as JSON types: rates in events a second, times as their names say."""
    data: dict[str, Any] = {"machine": results.machine}
    if results.repetitions:
        data["end_to_end"] = {name: _rates(runs) for name, runs in results.repetitions.items() if runs}
    rates = {name: block["median"] for name, block in data.get("end_to_end", {}).items()}
    if NAIVE in rates and "http" in rates:
        data["ratio_to_naive"] = round(rates["http"] / rates[NAIVE], 1)
    if results.repetitions.get("http"):
        data["cpu"] = _cpu(results.repetitions["http"])
    if results.redis is not None:
        data["redis"] = {
            "apply_us_per_event": round(results.redis.apply, 1),
            "all_scripts_us_per_event": round(results.redis.all_scripts, 1),
            "events_per_call": round(results.redis.events_per_call, 1),
        }
    if results.operators:
        shares = ratios(results.operators)
        data["operators"] = {
            name: {"redis_us_per_event": round(time, 1), "ratio_to_simple": round(shares[name], 2)}
            for name, time in results.operators.items()
        }
    if results.freshness is not None:
        data["freshness"] = {
            "load_rate": round(results.freshness.load_rate),
            "probes": len(results.freshness.readable),
            "readable_ms": latency_percentiles(results.freshness.readable),
            "in_postgresql_ms": latency_percentiles(results.freshness.in_postgresql),
        }
    if results.flush:
        data["flush"] = {kind: _flush(seconds) for kind, seconds in results.flush.items()}
    if results.wipes:
        data["redis_wipe"] = [asdict(wipe) for wipe in results.wipes]
    if results.overload:
        data["overload"] = results.overload
    data["faults"] = results.faults
    return data


def show(data: dict[str, Any], results: Results, console: Console) -> None:
    """Print the figures of ``as_data`` as tables."""
    if "end_to_end" in data:
        console.print(_rate_table(data, results))
    if "cpu" in data:
        console.print(_cpu_table(data["cpu"]))
    if "operators" in data:
        console.print(_operator_table(data["operators"]))
    for name, figures in results.overload.items():
        table = Table("figure", "value", title=name, title_justify="left")
        for row in _overload_lines(figures):
            table.add_row(*row)
        console.print(table)
    rows = [*_redis_lines(data), *_freshness_lines(data), *_flush_lines(data), *(wipe.line() for wipe in results.wipes)]
    if rows:
        table = Table("figure", "value", title="Times", title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def _rates(runs: Sequence[Repetition]) -> dict[str, Any]:
    return {
        "events": runs[0].events,
        "repetitions": [round(run.rate) for run in runs],
        "median": round(median(run.rate for run in runs)),
        "accepted_median": round(median(run.events / run.send_seconds for run in runs)),
        "others_share": round(_use(runs).others_share, 3),
    }


def _use(runs: Sequence[Repetition]) -> CpuUse:
    use = CpuUse()
    for run in runs:
        use.add(run.before, run.after)
    return use


def _cpu(runs: Sequence[Repetition]) -> dict[str, Any]:
    use = _use(runs)
    events = sum(run.events for run in runs)
    return {
        "seconds_per_million_events": {name: round(1e6 * seconds / events, 1) for name, seconds in _ordered(use)},
        "share": {name: round(seconds / use.ours, 3) for name, seconds in _ordered(use)},
        "total": round(1e6 * use.ours / events, 1),
    }


def _ordered(use: CpuUse) -> list[tuple[str, float]]:
    return sorted(use.by_program.items(), key=lambda item: -item[1])


def _flush(seconds: Sequence[float]) -> dict[str, Any]:
    middle = median(seconds)
    return {
        "writes": len(seconds),
        "median_ms": round(1e3 * middle, 2),
        "rows_per_second": round(ROWS / middle),
        **{name: value for name, value in latency_percentiles(seconds).items() if name in {"p95", "max"}},
    }


def _rate_table(data: dict[str, Any], results: Results) -> Table:
    title = "End to end: first request until the last event is in PostgreSQL"
    table = Table(title=title, title_justify="left")
    table.add_column("way in")
    for name in ("events/s, median", "of each run", "accepted/s", "events a run", "other work"):
        table.add_column(name, justify="right")
    titles = {name: load.title for name, load in results.loads.items()} | {NAIVE: "naive design, HTTP, 200 a request"}
    for name, block in data["end_to_end"].items():
        table.add_row(
            titles[name],
            f"{block['median']:,}",
            " ".join(f"{rate:,}" for rate in block["repetitions"]),
            f"{block['accepted_median']:,}",
            f"{block['events']:,}",
            f"{block['others_share']:.0%}",
        )
    if "ratio_to_naive" in data:
        table.add_row("batched HTTP to naive", f"{data['ratio_to_naive']:,.1f} times")
    return table


def _cpu_table(cpu: dict[str, Any]) -> Table:
    table = Table(title="CPU of batched HTTP", title_justify="left")
    for name in ("process", "seconds a million events", "share"):
        table.add_column(name, justify="left" if name == "process" else "right")
    for name, seconds in cpu["seconds_per_million_events"].items():
        table.add_row(name, f"{seconds:,.1f}", f"{cpu['share'][name]:.1%}")
    table.add_row("all", f"{cpu['total']:,.1f}", "")
    return table


def _operator_table(times: dict[str, Any]) -> Table:
    table = Table(title="Redis' time, operator by operator, one step an event", title_justify="left")
    table.add_column("rule")
    for name in ("µs an event", "to the simple ones"):
        table.add_column(name, justify="right")
    for name, block in times.items():
        share = f"{block['ratio_to_simple']:.2f}"
        table.add_row(name, f"{block['redis_us_per_event']:,.1f}", f"{share} (simple)" if name in SIMPLE else share)
    return table


def _overload_lines(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in figures.items():
        title = f"{prefix}{name.replace('_', ' ')}"
        if not isinstance(value, Mapping):
            yield title, f"{value:,}"
        elif all(isinstance(part, int | float) for part in value.values()):
            yield title, "  ".join(f"{part} {number:,.0f}" for part, number in value.items())
        else:
            yield from _overload_lines(value, f"{title}: ")


def _redis_lines(data: dict[str, Any]) -> list[tuple[str, str]]:
    if "redis" not in data:
        return []
    block = data["redis"]
    calls = f"{block['events_per_call']:,.0f} events a call"
    return [
        ("Redis, apply script", f"{block['apply_us_per_event']:,.1f} µs an event  ({calls})"),
        ("Redis, all scripts", f"{block['all_scripts_us_per_event']:,.1f} µs an event"),
    ]


def _freshness_lines(data: dict[str, Any]) -> list[tuple[str, str]]:
    if "freshness" not in data:
        return []
    block = data["freshness"]
    kinds = {"readable_ms": "accepted to readable", "in_postgresql_ms": "accepted to PostgreSQL"}
    return [
        (
            f"{title}, at {RATE:,} events/s",
            "  ".join(f"{name} {value:,.0f} ms" for name, value in block[kind].items()),
        )
        for kind, title in kinds.items()
    ]


def _flush_lines(data: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (f"flush of {ROWS:,} {kind}", f"{block['median_ms']:,.1f} ms  ({block['rows_per_second']:,} rows/s)")
        for kind, block in data.get("flush", {}).items()
    ]
