"""A run in figures: as data, as a table, and as an outcome."""

from collections.abc import Sequence
from math import ceil
from typing import Any

from rich.table import Table
from rich.text import Text

from tools.loadtest.sender import SendReport
from tools.loadtest.verification import Difference, VerifyReport

_PERCENTS = (50, 95, 99)


def latency_percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 (nearest rank) and max in milliseconds; empty where nothing was measured."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    ranks = {f"p{percent}": ordered[ceil(len(ordered) * percent / 100) - 1] for percent in _PERCENTS}
    return {name: round(value * 1_000, 3) for name, value in {**ranks, "max": ordered[-1]}.items()}


def as_data(sent: SendReport, proof: VerifyReport) -> dict[str, Any]:
    """Everything a run has to say, as JSON types. Durations are in seconds, latencies in milliseconds."""
    return {
        "run": sent.plan.run,
        "tenant_id": sent.plan.tenant_id,
        "ok": not faults(sent, proof),
        "sent": sent.sent,
        "accepted": sent.accepted,
        "accepted_distinct": sent.distinct_accepted,
        "rejected": sum(sent.rejected.values()),
        "rejected_by_code": dict(sent.rejected),
        "unanswered": len(sent.unanswered),
        "retries": {"busy": sent.busy_retries, "network": sent.network_retries},
        "send_seconds": round(sent.seconds, 3),
        "rate": _rate(sent.sent, sent.seconds),
        "latency_ms": latency_percentiles(sent.latencies),
        "events_in_postgresql": proof.found_events,
        "in_postgresql_seconds": _since(sent.started, proof.counted_at),
        "in_postgresql_after_last_answer_seconds": _since(sent.finished, proof.counted_at),
        "end_to_end_rate": _rate(sent.accepted, (proof.counted_at or 0) - sent.started) if proof.counted_at else None,
        "progress_rows": proof.expected_rows,
        "progress_exact": proof.exact_at is not None,
        "users_not_compared": proof.skipped_users,
        "faults": faults(sent, proof),
    }


def faults(sent: SendReport, proof: VerifyReport) -> list[str]:
    """What is lost, doubled or wrong, in words with examples; empty for a good run."""
    found = [
        _fault("accepted events are not in PostgreSQL", proof.lost_events),
        _fault("events are in PostgreSQL more than once", proof.doubled_events),
        _fault("events are in PostgreSQL that were not accepted", proof.stray_events),
        _fault("rows of progress are wrong", proof.wrong_rows),
    ]
    if sent.unanswered:
        found.append(f"{len(sent.unanswered):,} events never got an answer")
    if sent.rejected:
        codes = ", ".join(f"{code} {count:,}" for code, count in sent.rejected.most_common())
        found.append(f"{sum(sent.rejected.values()):,} events were rejected: {codes}")
    return [line for line in found if line]


def as_table(data: dict[str, Any]) -> Table:
    """The figures of ``as_data`` for a terminal."""
    table = Table(title=f"Load test {data['run']}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in _lines(data):
        table.add_row(name, Text(value))
    return table


def _lines(data: dict[str, Any]) -> list[tuple[str, str]]:
    latency = "  ".join(f"{name} {value:,.1f}" for name, value in data["latency_ms"].items())
    retries = data["retries"]
    return [
        ("sent", f"{data['sent']:,} events in {data['send_seconds']:,.2f} s"),
        ("accepted", f"{data['accepted']:,} ({data['accepted_distinct']:,} different)"),
        ("rejected", f"{data['rejected']:,}"),
        ("retries", f"{retries['busy']:,} busy, {retries['network']:,} network"),
        ("rate", f"{_number(data['rate'])} events/s"),
        ("latency of a request, ms", latency or "none"),
        ("in PostgreSQL", f"{data['events_in_postgresql']:,} of {data['accepted_distinct']:,}"),
        ("all in PostgreSQL", f"{_number(data['in_postgresql_seconds'], 2)} s after the first request"),
        ("", f"{_number(data['in_postgresql_after_last_answer_seconds'], 2)} s after the last answer"),
        ("end to end", f"{_number(data['end_to_end_rate'])} events/s"),
        ("progress", f"{data['progress_rows']:,} rows {'exact' if data['progress_exact'] else 'NOT exact'}"),
    ]


def _fault(what: str, difference: Difference) -> str:
    if not difference.count:
        return ""
    more = ", …" if difference.count > len(difference.examples) else ""
    return f"{difference.count:,} {what}: {'; '.join(difference.examples)}{more}"


def _rate(events: int, seconds: float) -> float | None:
    return round(events / seconds, 1) if seconds > 0 else None


def _since(start: float, end: float | None) -> float | None:
    return None if end is None else round(max(0.0, end - start), 3)


def _number(value: float | None, digits: int = 0) -> str:
    return "never" if value is None else f"{value:,.{digits}f}"
