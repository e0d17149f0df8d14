"""A chaos run in figures: as data, as a table, and as an outcome.

Zero lost and zero doubled are the only good ones, and they say something only if faults took hold, nearly every event
was answered, and everything was compared.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from tools.chaos.proof import Proof
from tools.chaos.schedule import WIPE
from tools.loadtest.sender import SendReport

MOST_UNKNOWN = 0.01
"""The largest part of the events that may be without an answer: their users' progress is compared with the event log
only. Requests are repeated for minutes, so there should be none at all."""


class Damage(NamedTuple):
    """What was done to an installation."""

    seed: int
    seconds: float
    survived: Mapping[str, int]
    """How often each fault took hold."""
    missed: Mapping[str, int]
    """How often one did not."""
    ended: Mapping[str, int]
    """How often a process of the product ended by itself. Nothing is lost by it, but it is worth a look."""
    forgotten: int = 0
    """Acknowledged events that only the lost part of a store had when it went back in time: no other may be lost."""


def as_data(damage: Damage, sent: SendReport, proof: Proof) -> dict[str, Any]:
    """Everything a run has to say, as JSON types."""
    seed, seconds, survived, missed, ended, forgotten = damage
    stored, audit = proof.stored, proof.audit
    data: dict[str, Any] = {
        "seed": seed,
        "seconds": round(seconds, 1),
        "faults": sum(survived.values()),
        "faults_by_name": dict(sorted(survived.items())),
        "faults_missed": dict(sorted(missed.items())),
        "sent": sent.sent,
        "retries": sent.busy_retries + sent.network_retries,
        "rejected": sum(sent.rejected.values()),
        "unknown": len(sent.unanswered),
        "acknowledged": sent.distinct_accepted,
        "counted": stored.found_events,
        "forgotten": forgotten,
        "lost": stored.lost_events.count,
        "doubled": stored.doubled_events.count + stored.doubled_effects.count,
        "stray": stored.stray_events.count,
        "rows_compared": stored.expected_rows,
        "rows_wrong": stored.wrong_rows.count,
        "unlocks_compared": audit.unlocks_equal,
        "audit_differences": audit.difference_count,
        "judged_late": audit.judgements.count,
        "audit_skipped": audit.skipped.total(),
        "dead_letters": dict(proof.dead_letters),
        "ended_by_themselves": dict(ended),
        "examples": _examples(proof),
    }
    data["ok"] = is_good(data)
    return data


def is_good(data: Mapping[str, Any]) -> bool:
    """Whether nothing was lost, doubled, refused, wrong or left out, and there was something to survive.

    The wipe is enough of a fault only where no other was struck.
    """
    bad = ("lost", "doubled", "stray", "rejected", "rows_wrong", "audit_differences", "judged_late", "audit_skipped")
    struck = {*data["faults_by_name"], *data["faults_missed"]}
    took_hold = any(data["faults_by_name"].get(name) for name in struck - {WIPE} or {WIPE})
    is_known = data["unknown"] <= MOST_UNKNOWN * (data["unknown"] + data["acknowledged"])
    is_clean = not any(data[name] for name in bad) and not data["dead_letters"]
    return took_hold and is_known and is_clean and data["counted"] > 0


def as_table(data: Mapping[str, Any]) -> Table:
    """The figures for a terminal."""
    table = Table(title=f"Chaos, seed {data['seed']}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, count in data["faults_by_name"].items():
        table.add_row(Text(f"  {name}"), f"{count:,}")
    table.add_row("faults survived", f"{data['faults']:,} in {data['seconds']:,.0f} s")
    table.add_row("faults that missed", f"{sum(data['faults_missed'].values()):,}")
    for name in (
        "sent",
        "acknowledged",
        "counted",
        "forgotten",
        "lost",
        "doubled",
        "unknown",
        "rows_compared",
        "rows_wrong",
    ):
        table.add_row(name.replace("_", " "), f"{data[name]:,}")
    table.add_row("processes that ended by themselves", f"{sum(data['ended_by_themselves'].values()):,}")
    table.add_row("unlocks compared", f"{data['unlocks_compared']:,}")
    table.add_row("differences of the audit", f"{data['audit_differences']:,}")
    table.add_row("events judged by older rules", f"{data['judged_late']:,}")
    table.add_row("rows and users that the audit left out", f"{data['audit_skipped']:,}")
    return table


def _examples(proof: Proof) -> list[str]:
    stored = proof.stored
    return [
        *(f"lost: {text}" for text in stored.lost_events.examples),
        *(f"doubled: {text}" for text in stored.doubled_events.examples + stored.doubled_effects.examples),
        *(f"stray: {text}" for text in stored.stray_events.examples),
        *(f"row: {text}" for text in stored.wrong_rows.examples),
        *(f"audit: {difference}" for difference in proof.audit.differences[:10]),
    ]
