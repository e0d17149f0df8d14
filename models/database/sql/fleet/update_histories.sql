-- The rate is that of this flush and, with half of the weight each time, those before.
UPDATE shard_histories AS h
SET
    flush_number = h.flush_number + 1,
    flush_token = f.token,
    log_version = greatest(h.log_version, f.log_version),
    row_version = greatest(h.row_version, f.row_version),
    flushed_events = h.flushed_events + f.events,
    event_rate = (
        h.event_rate + f.events / greatest(extract(epoch FROM clock_timestamp() - h.flushed_at), 1)::float8
    ) / 2,
    flushed_at = clock_timestamp()
FROM unnest(
    %(shard)s::int[], %(token)s::text[], %(log_version)s::bigint[], %(row_version)s::bigint[], %(events)s::int[]
) AS f (shard, token, log_version, row_version, events)
WHERE h.shard = f.shard
