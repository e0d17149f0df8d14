"""Checks that record and processes of the installation agree."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from config.shared_settings import SHARED, is_explicit, shared_values
from models.database.fleet.installation import InstallationTable
from models.fleet.installation import InstallationRecord
from models.installation.agreement import how_to_change, shown
from models.installation.clocks import MAX_SKEW
from models.state.fleet.beat_lease import BeatLease
from models.state.fleet.installation import InstallationCopy
from models.state.fleet.presence import Presence, ProcessFacts
from tools.doctor.registry import Installation, Remark, check, error, ok, warning

_SKEW_WARNING = timedelta(seconds=2)


@check("shared-settings", "the installation's record is the same in PostgreSQL and Redis, and as the environment here")
def record(installation: Installation) -> Iterator[Remark]:
    """What all processes share is written down, once."""
    copied = InstallationCopy(installation.state).read()
    stored = InstallationTable(installation.engine).read()
    if stored is None or copied is None:
        missing = "PostgreSQL" if stored is None else "Redis"
        yield warning(
            f"{missing} holds no record of the shared settings", "Start a process, such as `questline migrate`."
        )
    elif copied.installation_id != stored.installation_id:
        yield error(
            f"Redis is of installation {copied.installation_id[:8]}, PostgreSQL of {stored.installation_id[:8]}",
            "Name the servers of one installation in STATE_URL and DB_HOST.",
        )
    elif copied != stored:
        yield warning(
            f"Redis has revision {copied.revision} of the shared settings, PostgreSQL {stored.revision}",
            "Start any process: it brings the older one up to the newer one.",
        )
    if (known := stored or copied) is not None:
        yield from _told(installation, known)


def _told(installation: Installation, known: InstallationRecord) -> Iterator[Remark]:
    listed = ", ".join(f"{name}={value}" for name, value in known.values.items() if value)
    yield ok(f"installation {known.installation_id[:8]}, revision {known.revision}: {listed}")
    if known.change is not None:
        wanted = ", ".join(f"{name}={value}" for name, value in known.change.values.items())
        yield error(
            f"a change to {wanted} is under way ({known.change.step}), and no event is accepted meanwhile",
            "Wait for the command that does it; if it was killed, give it again.",
        )
    given = installation.given or installation.settings
    for name in SHARED:
        here, there = shared_values(given)[name], known.values.get(name)
        if is_explicit(given, name) and there is not None and here != there:
            level = warning if here in known.former.get(name, ()) else error
            yield level(
                f"{name} is {shown(here)} in the environment here and {shown(there)} in this installation",
                f"Set {name}={there}, or leave it out; `{how_to_change(name, here)}` changes it everywhere.",
            )


@check("fleet", "the processes alive agree on settings, release and time")
def fleet(installation: Installation) -> Iterator[Remark]:
    """Every process that runs is one of this installation."""
    alive = Presence(installation.state).alive()
    known = InstallationCopy(installation.state).read()
    yield from _differing(alive, {} if known is None else known.values)
    yield from _mixed(alive)
    for one in alive:
        skew = timedelta(milliseconds=abs(one.skew_ms))
        if skew > _SKEW_WARNING:
            level = error if skew > MAX_SKEW else warning
            side = "ahead of" if one.skew_ms > 0 else "behind"
            yield level(
                f"the clock of {one.name} is {skew.total_seconds():.1f} s {side} that of Redis",
                "Let every machine follow the same time server (NTP).",
            )
    roles = Counter(one.role for one in alive)
    yield ok(", ".join(f"{number} {role}" for role, number in sorted(roles.items())) or "no process is heard of")


def _differing(alive: Sequence[ProcessFacts], values: Mapping[str, str]) -> Iterator[Remark]:
    for one in alive:
        for name in (name for name, value in values.items() if one.values.get(name) != value):
            yield error(
                f"{one.name} goes by {name}={one.values.get(name)}, the installation by {values[name]}",
                "It should have ended by itself within seconds: end it.",
            )


def _mixed(alive: Sequence[ProcessFacts]) -> Iterator[Remark]:
    releases = Counter(one.release for one in alive)
    if len(releases) > 1:
        told = ", ".join(f"{number} of {release}" for release, number in sorted(releases.items()))
        yield warning(f"processes of several releases run: {told}", "Restart those of the older one.")
    for name in sorted({name for one in alive for name in one.own}):
        values = {one.own[name] for one in alive if name in one.own}
        if len(values) > 1:
            yield warning(
                f"{name} differs between processes: {', '.join(sorted(values))}",
                "Give every process the same environment, and restart those that differ.",
            )


@check("beats", "one beat sends the ticks")
def beats(installation: Installation) -> Iterator[Remark]:
    """Of several beats all but one stand by."""
    alive = sorted(one.name for one in Presence(installation.state).alive() if one.role == "beat")
    leads = BeatLease(installation.state, "").holder()
    if len(alive) > 1:
        yield warning(
            f"{len(alive)} beats run ({', '.join(alive)}): {leads or 'none'} sends the ticks, the others stand by",
            "One is enough: end the others, unless they are there to follow it.",
        )
    else:
        yield ok(f"{leads} sends the ticks" if leads else "no beat sends ticks")
