-- A shard that was never flushed has a row of what is before the first flush.
SELECT
    s.shard,
    coalesce(flush_number, 0) AS flush_number,
    coalesce(flush_token, '') AS flush_token,
    coalesce(log_version, 0) AS log_version,
    coalesce(row_version, 0) AS row_version,
    coalesce(flushed_events, 0) AS flushed_events,
    coalesce(event_rate, 0) AS event_rate,
    coalesce(extract(epoch FROM clock_timestamp() - flushed_at), 0) AS silent_seconds,
    (SELECT coalesce(max(revision), 0) FROM rule_publications) AS rules
FROM unnest(%(shards)s::int[]) AS s (shard)
LEFT JOIN shard_histories AS h ON h.shard = s.shard
