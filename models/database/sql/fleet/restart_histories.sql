-- A shard goes on from a reset: nothing of it is ahead of its events any more.
UPDATE shard_histories AS h
SET
    flush_number = f.number, flush_token = f.token, log_version = f.version, row_version = f.version,
    flushed_at = clock_timestamp()
FROM unnest(%(shard)s::int[], %(number)s::bigint[], %(token)s::text[], %(version)s::bigint[]) AS f (
    shard, number, token, version
)
WHERE h.shard = f.shard
