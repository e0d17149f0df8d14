"""This machine: its clock, its disk, and the files of TLS."""

import shutil
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from models.database.connection import database_errors
from models.rules.calendar import microseconds
from tools.doctor.registry import Installation, Remark, check, error, ok, warning

_SKEW_WARNING, _SKEW_ERROR = timedelta(seconds=2), timedelta(seconds=60)
_FREE_WARNING, _FREE_ERROR = 1024**3, 256 * 1024**2
_EXPIRES_SOON = timedelta(days=21)


@check("clocks", "this machine, Redis and PostgreSQL agree on the time")
def clocks(installation: Installation) -> Iterator[Remark]:
    """Times of events, deadlines and versions mean the same everywhere."""
    for name, others_us, ours_us in _readings(installation):
        skew = timedelta(microseconds=abs(others_us - ours_us))
        said = f"the clock of {name} is {'ahead' if others_us > ours_us else 'behind'} by {skew.total_seconds():.1f} s"
        advice = "Let every machine follow the same time server (NTP)."
        if skew > _SKEW_ERROR:
            yield error(said, advice)
        elif skew > _SKEW_WARNING:
            yield warning(said, advice)


def _readings(installation: Installation) -> Iterator[tuple[str, int, int]]:
    """Another clock, and ours at the middle of asking, in µs."""
    before = installation.now_us()
    seconds, micros = _time_of(installation)
    yield "Redis", seconds * 1_000_000 + micros, (before + installation.now_us()) // 2
    with database_errors(), installation.engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")  # connecting takes its time
        before = installation.now_us()
        at = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
        yield "PostgreSQL", microseconds(at), (before + installation.now_us()) // 2


def _time_of(installation: Installation) -> tuple[int, int]:
    installation.state.ping()  # connecting takes its time
    told: Any = installation.state.time()
    return int(told[0]), int(told[1])


@check("disk", "free space where QUESTLINE_DATA_DIR is", needs_servers=False)
def disk(installation: Installation) -> Iterator[Remark]:
    """Redis and PostgreSQL can write."""
    folder = installation.settings.questline_data_dir.expanduser().absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    said = f"{free / 1024**3:,.1f} GiB free"
    if free < _FREE_ERROR:
        yield error(said, "Make room: a full disk stops Redis and PostgreSQL.")
    elif free < _FREE_WARNING:
        yield warning(said, "Make room before it runs out.")
    else:
        yield ok(said)


@check("tls", "TLS_CERT and TLS_KEY can be read, belong together, and do not expire soon", needs_servers=False)
def tls(installation: Installation) -> Iterator[Remark]:
    """The receiver can speak TLS tomorrow as well."""
    cert, key = installation.settings.tls_cert, installation.settings.tls_key
    if cert is None or key is None:
        if cert is not key:
            yield error("of TLS_CERT and TLS_KEY only one is set", "Set both, or neither.")
        return
    try:
        expires_at = _expiry(cert, key)
    except ssl.SSLCertVerificationError as fault:
        yield error(f"TLS_CERT: {fault.verify_message}", "Renew the certificate and restart the receivers.")
    except OSError as fault:  # ssl.SSLError is one
        yield error(
            f"TLS_CERT and TLS_KEY cannot be used: {fault.strerror or fault}",
            "Name a certificate chain and its private key in PEM that this user can read.",
        )
    else:
        left = expires_at - datetime.now(UTC)
        said = f"the certificate expires on {expires_at:%Y-%m-%d}"
        yield warning(said, "Renew it and restart the receivers.") if left < _EXPIRES_SOON else ok(said)


def _expiry(cert: Path, key: Path) -> datetime:
    """When a certificate expires: read by a handshake with ourselves, since Python parses none from a file.

    Raises:
        OSError: a file cannot be read, is no PEM, or they do not belong together; ssl.SSLError among them.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(cert, key)
    client.load_verify_locations(cert)
    client.check_hostname = False
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)]
    for end in ends * 2:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    told: Any = ends[0].getpeercert()
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(told["notAfter"]), UTC)
