"""Every log event with its level, fields and meaning. Names do not change.

Code logs by the name itself (``log.warning("flush_put_off", error=...)``), which makes it easy to find from a line; a
test compares all calls with this table, and ``make docs-tables`` writes ``docs/reference/log-events.md`` from it.
"""

from typing import Literal, NamedTuple

Level = Literal["debug", "info", "warning", "error"]


class LogEvent(NamedTuple):
    """One kind of line."""

    name: str
    levels: tuple[Level, ...]
    """More than one where it depends on the cause; the meaning says on which."""
    fields: tuple[str, ...]
    """Beside those of every line; ``exc_info`` stands for a traceback."""
    meaning: str


def _event(name: str, levels: str, fields: str, meaning: str) -> LogEvent:
    known: dict[str, Level] = {"debug": "debug", "info": "info", "warning": "warning", "error": "error"}
    return LogEvent(name, tuple(known[level] for level in levels.split()), tuple(fields.split()), meaning)


# fmt: off
LOG_EVENTS = (
    # Processes and what they share.
    _event("installation_unknown", "warning", "error", "neither PostgreSQL nor Redis tells the settings that all processes share: the process waits before it does anything"),
    _event("installation_not_in_postgres", "warning", "error", "PostgreSQL does not tell the shared settings at the start; Redis decides"),
    _event("installation_not_in_redis", "warning", "error", "Redis does not tell the shared settings, or does not take them; PostgreSQL decides"),
    _event("installation_not_read", "debug", "error", "a regular look at the shared settings failed; the next one follows"),
    _event("installation_changed", "warning", "reason", "the shared settings were changed: the process ends cleanly, to be started again by the new ones"),
    _event("installation_watch_broke", "error", "exc_info", "a fault of ours while looking at the shared settings; the next look follows"),
    _event("setting_out_of_date", "warning", "setting environment installation", "the environment names a value that the installation had before: the process goes by the installation's"),
    _event("processes_do_not_follow", "warning", "processes", "these processes still go by the old values 30 s after a change: they are frozen, or of an older release"),
    _event("schema_not_checked", "warning", "error", "PostgreSQL is away at a start, so a later release of its tables would not be seen"),
    _event("database_not_checked", "warning", "error", "PostgreSQL was away, or a standby, when a process started: whether it can be used shows later, in `/readyz`"),
    _event("redis_without_password", "warning", "setting", "at a start: `BROKER_URL` or `STATE_URL` has no password, so everybody who reaches that Redis can write queue messages and progress"),
    _event("redis_is_a_replica", "warning", "setting", "at a start: the Redis of this setting is a replica; the process waits for it, 20 s at most"),
    _event("failpoints_armed", "warning", "folder", "`FAILPOINTS_DIR` is set: this process breaks when a file in that folder says so"),
    _event("worker_not_ready", "warning", "error", "a worker could not connect at its start, and tries again with the next batch"),
    _event("postgres_binaries_copied", "info", "source target", "`questline up` as root: the embedded PostgreSQL runs as another user, who cannot read where it is installed"),
    _event("postgres_binaries_not_copied", "warning", "target error", "the programs of the embedded PostgreSQL could not be copied to this place"),

    # Ingest and HTTP.
    _event("receiver_started", "info", "http_port grpc_port", "the receiver accepts connections"),
    _event("receiver_stopping", "info", "", "the receiver was told to stop: it answers what it holds, and `/readyz` is 503"),
    _event("receiver_stopped", "info", "", "the receiver has ended"),
    _event("receiver_resized", "info", "shards", "the receiver goes by another number of shards from now on"),
    _event("request_refused", "info", "reason", "a connection broke a limit before any handler saw it"),
    _event("request_put_off", "warning", "kind error", "a request, or several of one second, was answered 503 (gRPC `UNAVAILABLE`) for an error that passes; the driver's text is here only"),
    _event("request_broke", "error", "method path error", "a fault of ours in a handler; the caller got a 500"),
    _event("group_commit_failing", "warning", "step error kind", "storing events (`step` journal) began to fail"),
    _event("group_commit_recovered", "info", "step", "it works again"),
    _event("group_commit_broke", "error", "waiters batches exc_info", "a fault of ours while events were stored; their callers got an error"),
    _event("group_commit_ended", "error", "exc_info", "a fault of ours ended the thread that stores events: `/readyz` is 503; start the receiver again"),
    _event("commit_outlived_its_loop", "warning", "waiters", "the receiver stopped while callers waited for their answer"),
    _event("dependency_failing", "warning", "dependency answer error", "a dependency of `/readyz` cannot be used"),
    _event("dependency_recovered", "info", "dependency", "it can be used again"),
    _event("grpc_health_changed", "info", "serving", "gRPC health says SERVING or NOT_SERVING from now on"),
    _event("readiness_broke", "error", "exc_info", "a fault of ours while gRPC health asked whether events can be accepted; it says NOT_SERVING and asks again"),
    _event("path_open", "info", "remembered", "an event can go the whole way: events are accepted; `remembered`: before a probe has shown it again"),
    _event("path_blocked", "warning", "station shards error", "a probe does not get on: see the reference of health checks"),
    _event("path_clear", "info", "", "it gets on again"),
    _event("probe_failed", "debug", "error", "a probe could not be sent; the next one follows"),
    _event("probe_broke", "error", "exc_info", "a fault of ours in the thread that sends probes"),
    _event("probe_given_up", "warning", "shard error", "a probe broke its worker as an event would that becomes a dead letter"),

    # Access.
    _event("keys_picked_up", "info", "keys", "a receiver took up a changed set of API keys"),
    _event("keys_read_from_copy", "warning", "keys", "a receiver started while PostgreSQL was away, and took the keys from the copy in Redis"),
    _event("keys_not_read", "debug", "error", "PostgreSQL did not answer the look for keys; the next is a second later"),
    _event("keys_not_copied", "debug", "error", "Redis did not take the copy of the keys; the next try is a second later"),
    _event("key_uses_not_noted", "warning", "error", "PostgreSQL was away when a receiver stopped: the last uses of keys are not in `questline keys list`"),
    _event("keys_watch_broke", "error", "exc_info", "a fault of ours while looking for keys; the receiver goes on with those it knows"),
    _event("quotas_not_shared", "debug", "error", "Redis did not answer when usage of quotas was shared; the next try is a second later"),
    _event("quota_watch_broke", "error", "exc_info", "a fault of ours while reading quotas; the receiver goes on with those it knows"),

    # Apply.
    _event("event_processed", "info", "event_id user_id event_type goals_affected processing_time_ms", "an event was applied; of a call of more than 5 events only at `LOG_LEVEL=debug`"),
    _event("batch_processed", "info", "events duplicates processing_time_ms", "a call of more than 5 events was applied, merged from one or more batches"),
    _event("batches_postponed", "warning", "shard batches error", "batches wait for PostgreSQL, for a user whose record would not load, or for rules that this release can read; it counts as no attempt"),
    _event("batch_left_to_journal", "warning", "shard batches error", "Redis did not answer a worker, or refused; the batches are delivered again"),
    _event("batch_failed", "error", "shard batch_id bad event_ids exc_info", "events of a batch break the worker or the script; they are tried again"),
    _event("batch_malformed", "error", "shard batch_id error", "the journal holds bytes that are no batch"),
    _event("batch_rerouted", "warning", "shard batch_id to", "a batch was in a shard that is none of its users', and was put where it belongs"),
    _event("batch_split", "warning", "shard batch_id events", "a batch that workers did not finish several times was taken apart into batches of one event"),
    _event("batches_republished", "warning", "batches messages", "batches that workers were given and did not apply are given again, in so many messages"),
    _event("batches_not_given_back", "warning", "error", "the state Redis did not answer a worker that ends; others get its batches after `JOURNAL_RETRY_AFTER`"),
    _event("streams_not_read", "warning", "error kind", "the state Redis did not answer the main process of a worker, or refused; it tries again every second"),
    _event("foreign_streams", "error", "keys", "keys of the shards' queues hold another application's values: those shards stand still"),
    _event("former_journal_taken_up", "warning", "batches", "batches that a release up to 0.2 accepted were moved to where workers read them"),

    # Dead letters.
    _event("dead_lettered", "error", "kind reason task shard batch_id event_ids error", "something became a row of `dead_letters`"),
    _event("dead_letters_put_off", "warning", "shard batch_id error", "PostgreSQL is away: the batch stays in the journal until its dead letters can be written"),
    _event("dead_letters_not_counted", "warning", "error", "PostgreSQL or Redis is away: `questline_dead_letter_depth` stays as it was"),
    _event("dead_letters_redriven", "info", "redriven refused key", "an operator redrove dead letters; `key` is the API key"),
    _event("dead_letters_discarded", "warning", "letters key", "an operator discarded dead letters; `key` is the API key"),
    _event("message_set_aside", "error", "queue task reason error", "an item of a queue is no message that a worker can handle; it becomes a dead letter"),
    _event("poison_not_kept", "error", "queue raw exc_info", "the broker did not take such an item; its bytes are in this line, in base64"),
    _event("poison_overflowed", "error", "dropped", "more than 10,000 such items wait: the oldest have left"),
    _event("failure_not_noted", "warning", "task error cause", "a task failed, and the broker or Redis did not take the note of it"),

    # Periodic tasks.
    _event("beat_leads", "info", "", "this beat sends the periodic tasks"),
    _event("beat_stands_by", "info", "", "another beat sends the periodic tasks; this one follows when that ends"),
    _event("beat_lease_not_renewed", "warning", "error", "the state Redis does not answer: no periodic task is sent until it does"),
    _event("tick_left_out", "warning", "task", "beat did not send this task because 100 messages wait in the queue `maintenance`: no maintenance worker runs"),
    _event("schedule_not_written", "warning", "error", "beat could not write down when each task was last sent: look at the disk of `QUESTLINE_DATA_DIR`; tasks go on"),
    _event("sweep_put_off", "warning", "step error", "Redis or PostgreSQL is away: this step of redelivery waits for the next time"),
    _event("partitions_put_off", "warning", "error", "PostgreSQL is away: partitions are made or dropped at the next time"),
    _event("partition_dropped", "info", "partition", "a day of events or evaluations was older than `EVENT_RETENTION`"),

    # Flush and memory.
    _event("flushed", "info", "rows events users", "what a flush wrote to PostgreSQL"),
    _event("flush_put_off", "warning", "error", "Redis or PostgreSQL is away: the next flush writes it"),
    _event("flush_not_requested", "warning", "error", "an early flush could not be asked for: the broker or Redis is away; the periodic one follows"),
    _event("flush_lock_lost", "warning", "", "a flush took longer than its lock of 10 s; versions of records keep both right"),
    _event("flush_lock_not_released", "warning", "error seconds", "Redis went away during a flush, or its lock had passed on; the next flush waits up to 10 s"),
    _event("row_refused", "error", "kind user_id error", "PostgreSQL refused a row, which is in `dead_letters`"),
    _event("dirty_records_lost", "error", "shard users", "Redis evicted records of users that PostgreSQL is behind on: set `maxmemory-policy noeviction`, then run `questline reconcile`"),
    _event("records_evicted", "info", "users used", "the state Redis was at three quarters of its `maxmemory`: the records that were unused for longest left it, and are loaded again when they are needed; `used` is the part used now"),
    _event("memory_not_read", "debug", "error", "Redis did not tell its memory; the next look follows"),
    _event("memory_watch_broke", "error", "exc_info", "a fault of ours in the thread that frees memory of Redis when it is nearly full; it goes on"),

    # Histories of the stores.
    _event("redis_went_back", "error", "shards postgresql_flushes redis_flushes events_lost_at_most", "Redis lacks flushes that PostgreSQL has: a replica that lagged, a restored snapshot, a lost append-only file, a wipe. Its shards are reset at once"),
    _event("postgresql_went_back", "error", "shards postgresql_flushes redis_flushes events_lost_at_most", "PostgreSQL lacks flushes that Redis knows to be committed: nothing is flushed or accepted until `questline recover`, or until a newer backup is in its place"),
    _event("postgresql_is_in_step_again", "warning", "", "that backup is in its place: users are loaded anew from it, and what waited is flushed"),
    _event("shards_reset", "warning", "shards entries_returned users_corrected users_left", "shards go on from what PostgreSQL has and what was left in Redis' log and journal (`entries_returned`); rows that were ahead of the events were computed anew (`users_corrected`), but not of users whose events are no longer all kept (`users_left`)"),

    # Rules.
    _event("rules_published", "info", "revision active_from new_versions", "a process published its challenges file"),
    _event("rules_picked_up", "info", "revision active_from", "a process took up a publication"),
    _event("rules_not_published", "warning error", "source error", "error: the challenges file of a starting process changes a rule in a way that needs a new id; what was published before holds on. warning: Redis was away; the next look tries again"),
    _event("rules_not_read", "warning", "error", "PostgreSQL did not answer the look for publications, or holds none that this release can read; said once, the next look is a second later"),
    _event("rules_unreadable", "error", "revision error", "this release cannot read a publication: update the process. Events that fall under it wait (`batches_postponed`)"),
    _event("fences_aligned", "info", "shards revision", "the fences of some shards were not at the newest publication (Redis lost them, a publisher died, PostgreSQL was restored) and are now"),
    _event("rules_watch_broke", "error", "exc_info", "a fault of ours while looking for publications; the process goes on with those it has"),

    # Reading.
    _event("progress_read_without_redis", "warning", "error", "a user's progress was answered from PostgreSQL"),
    _event("progress_read_without_database", "warning", "error", "a user's progress was answered from Redis alone: PostgreSQL did not say in time what it has of attributes or rules"),
    _event("progress_read_without_attributes", "warning", "error", "Redis does not have the user's attributes and PostgreSQL is away: goals for segments are left out, the time zone `user` is UTC"),
    _event("attributes_read_without_redis", "warning", "error", "attributes were answered from PostgreSQL"),
    _event("metrics_not_read", "warning", "error", "the state Redis, or the broker, did not answer a scrape"),
    _event("meters_not_pushed", "warning", "error", "the state Redis is away: what was counted is kept for the next push"),
)
# fmt: on
