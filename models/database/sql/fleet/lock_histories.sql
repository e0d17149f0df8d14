-- In the order of shards, so that two flushes cannot wait for each other.
SELECT
    shard, flush_number, flush_token, log_version, row_version, flushed_events, event_rate,
    extract(epoch FROM clock_timestamp() - flushed_at) AS silent_seconds,
    (SELECT coalesce(max(revision), 0) FROM rule_publications) AS rules
FROM shard_histories
WHERE shard = ANY(%(shards)s::int[])
ORDER BY shard
FOR UPDATE
