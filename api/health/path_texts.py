"""The probe's report as text. It is public: no address, no name, no password."""

from collections.abc import Sequence

from models.fleet.probes import Station
from models.state.fleet.path_state import Report

_WHAT = {
    Station.JOURNAL: "the journal does not take the probe{of}",
    Station.BROKER: "the broker does not take the message{of}",
    Station.WORKER: "no worker takes the probe{of}",
    Station.APPLY: "a worker took the probe{of}, and cannot apply it",
    Station.FLUSH: "the probe{of} is applied, and does not come to PostgreSQL",
    Station.DATABASE: "the receiver cannot read from PostgreSQL whether the probe{of} has come there",
}
NOT_TRIED = "not tried yet"
_WHY = {
    "DatabaseUnavailableError": "PostgreSQL does not answer, or refuses",
    "StateUnavailableError": "the state Redis does not answer, or refuses",
    "BrokerUnavailableError": "the broker does not answer, or refuses",
    "RulesUnreadableError": "there are no rules that this release can read",
    "JournalFullError": "it is full",
}


def spelled(report: Report) -> str:
    """The station, and what is known of it; for a report without a station, that all is well."""
    if not report.station:
        return "a probe went the whole way"
    what = _WHAT[Station(report.station)].format(of=f" of {listed(report.shards)}" if report.shards else "")
    why = _WHY.get(report.kind, report.kind)
    return f"station {report.station}: {what}" + (f" ({why})" if why else "")


def listed(shards: Sequence[int]) -> str:
    """Shards in words: the first few by number, and how many more."""
    named = ", ".join(str(shard) for shard in shards[:8])
    more = f" and {len(shards) - 8} more" if len(shards) > 8 else ""
    return f"shard{'s' if len(shards) > 1 else ''} {named}{more}"
