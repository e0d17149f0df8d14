INSERT INTO shard_histories (
    shard, flush_number, flush_token, log_version, row_version, flushed_events, event_rate
)
SELECT shard, 0, '', 0, 0, 0, 0
FROM unnest(%(shards)s::int[]) AS s (shard)
ORDER BY shard
ON CONFLICT (shard) DO NOTHING
