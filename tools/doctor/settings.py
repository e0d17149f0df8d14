"""Settings: values that are dangerous, or that contradict each other."""

from collections.abc import Iterator
from datetime import timedelta

from config.loopback import is_loopback
from tools.doctor.registry import Installation, Remark, check, error, ok, warning

_EVENT_BYTES = 24 * 1024
"""The largest event with its envelope."""
_RESTART = timedelta(seconds=15)
"""How long a worker may take until it takes events after a start."""


@check("servers", "whether the settings, or a running product, name the servers", needs_servers=False)
def servers(installation: Installation) -> Iterator[Remark]:
    """The servers have names."""
    if not installation.has_servers:
        folder = installation.settings.questline_data_dir
        yield error(
            f"Questline is not running on {folder}, and no servers are set",
            "Start it with `questline up`, or set DB_HOST and BROKER_URL or STATE_URL.",
        )


@check("journal-settings", "bounds and times of the journal, against each other", needs_servers=False)
def journal(installation: Installation) -> Iterator[Remark]:
    """What is accepted can wait, and comes back before the receiver closes."""
    settings = installation.settings
    part = settings.journal_max_bytes // settings.shards
    if part < _EVENT_BYTES:
        yield error(
            f"a shard's part of JOURNAL_MAX_BYTES is {part:,} bytes: the largest event may never be accepted",
            f"Set JOURNAL_MAX_BYTES to at least {settings.shards * 1024 * 1024:,}, or SHARDS lower.",
        )
    elif part < 1024 * 1024:
        yield warning(
            f"a shard's part of JOURNAL_MAX_BYTES is {part:,} bytes: short pauses of a worker lead to 503",
            f"Set JOURNAL_MAX_BYTES to at least {settings.shards * 1024 * 1024:,}.",
        )
    if settings.journal_max_age <= _RESTART:
        yield error(
            "JOURNAL_MAX_AGE is over before a worker that is started again takes events: each restart leads to 503",
            "Set JOURNAL_MAX_AGE to some minutes.",
        )
    if settings.journal_retry_after < timedelta(seconds=2):
        yield warning(
            "JOURNAL_RETRY_AFTER is below 2 s: batches are given again while workers are still at them",
            "Set JOURNAL_RETRY_AFTER to some seconds.",
        )
    if settings.journal_sweep_interval > timedelta(seconds=30):
        yield warning(
            "JOURNAL_SWEEP_INTERVAL is above 30 s: the alert QuestlineNothingTicks takes the pauses for a standstill",
            "Set JOURNAL_SWEEP_INTERVAL to some seconds.",
        )


@check("flush-settings", "how changes come to PostgreSQL, and how long they stay in Redis", needs_servers=False)
def flush(installation: Installation) -> Iterator[Remark]:
    """Changes are written soon, in good time before the receiver closes."""
    settings = installation.settings
    if settings.buffer_max_size >= settings.dirty_max_users:
        yield error(
            "DIRTY_MAX_USERS is not above BUFFER_MAX_SIZE: the receiver refuses before an early flush is asked for",
            "Set DIRTY_MAX_USERS to several times BUFFER_MAX_SIZE.",
        )
    if settings.dirty_max_users < settings.shards:
        yield error("DIRTY_MAX_USERS is below SHARDS: a shard may have one such user", "Set DIRTY_MAX_USERS higher.")
    if settings.buffer_flush_interval > timedelta(seconds=30):
        yield warning(
            "BUFFER_FLUSH_INTERVAL is above 30 s: that much is lost if Redis is", "Set it to a few seconds at most."
        )
    if settings.record_ttl < timedelta(minutes=1):
        yield warning(
            "RECORD_TTL is below a minute: nearly every event loads its user from PostgreSQL",
            "Set RECORD_TTL to the time between a user's visits, such as 1d.",
        )


@check("receiver-settings", "how requests are taken and events logged", needs_servers=False)
def receiver(installation: Installation) -> Iterator[Remark]:
    """Callers are answered soon, and logs stay readable."""
    settings = installation.settings
    if settings.commit_linger > timedelta(milliseconds=500):
        yield warning("COMMIT_LINGER is above 500 ms, and every caller waits for it", "Set it to some milliseconds.")
    if not timedelta(seconds=1) <= settings.request_timeout <= timedelta(minutes=2):
        yield warning(
            "REQUEST_TIMEOUT is below 1 s or above 2 min: slow clients are cut off, or hold connections",
            "Set it to about 10s.",
        )
    if settings.max_lateness < timedelta(hours=1):
        yield warning(
            "MAX_LATENESS is below an hour: events of a sender that was offline are refused", "Set it to some days."
        )
    if settings.log_level == "debug":
        yield warning("LOG_LEVEL=debug writes a line for every event", "Set LOG_LEVEL=info but for a search.")
    if settings.apply_task_events:
        yield warning("APPLY_TASK_EVENTS costs more than the tasks themselves", "Set APPLY_TASK_EVENTS=false.")
    if settings.evaluation_log == "all":
        yield ok("EVALUATION_LOG=all: every step of every goal is a row")


@check("test-settings", "settings that are for test installations", needs_servers=False)
def test_settings(installation: Installation) -> Iterator[Remark]:
    """Nothing breaks processes on purpose."""
    if installation.settings.failpoints_dir is not None:
        yield error(
            "FAILPOINTS_DIR is set: whoever writes to that folder can kill and pause processes",
            "Unset FAILPOINTS_DIR everywhere but on a test installation.",
        )


@check("exposure", "what is open to other machines, and behind what", needs_servers=False)
def exposure(installation: Installation) -> Iterator[Remark]:
    """What leaves this machine is behind a password, a limit and TLS."""
    settings = installation.settings
    if is_loopback(settings.http_host):
        yield ok(f"HTTP_HOST {settings.http_host} is this machine only")
        return
    if settings.tls_cert is None:
        yield warning(
            f"HTTP_HOST is {settings.http_host}, without TLS: keys and events pass in clear text",
            "Set TLS_CERT and TLS_KEY, or let a proxy on this machine speak TLS.",
        )
    if settings.rate_limit is None:
        yield warning("no RATE_LIMIT: one key can take all capacity", "Set RATE_LIMIT, or a limit for each key.")
    if settings.flower_control:
        yield warning("FLOWER_CONTROL lets whoever has Flower's password stop workers", "Set FLOWER_CONTROL=false.")
