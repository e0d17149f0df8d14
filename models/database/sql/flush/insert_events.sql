-- Appends events; one that is there already (the flush was cut off before it could acknowledge) stays as it is.
-- Times come in microseconds.
INSERT INTO events (
    tenant_id, user_id, event_id, occurred_at, event_type, source, value, increment, payload,
    accepted_at, applied_at, shard, stamp, timezone, attributes, rules_revision
)
SELECT
    n.tenant_id, n.user_id, n.event_id, timestamptz 'epoch' + n.occurred_at * interval '1 microsecond',
    n.event_type, n.source, n.value, n.increment, n.payload,
    timestamptz 'epoch' + n.accepted_at * interval '1 microsecond',
    timestamptz 'epoch' + n.applied_at * interval '1 microsecond', n.shard, n.stamp,
    n.timezone, n.attributes, n.rules_revision
FROM unnest(
    %(tenant_id)s::text[], %(user_id)s::text[], %(event_id)s::text[], %(occurred_at)s::bigint[],
    %(event_type)s::text[], %(source)s::text[], %(value)s::float8[], %(increment)s::float8[], %(payload)s::jsonb[],
    %(accepted_at)s::bigint[], %(applied_at)s::bigint[], %(shard)s::smallint[], %(stamp)s::bigint[],
    %(timezone)s::text[], %(attributes)s::jsonb[], %(rules_revision)s::int[]
) AS n (
    tenant_id, user_id, event_id, occurred_at, event_type, source, value, increment, payload, accepted_at,
    applied_at, shard, stamp, timezone, attributes, rules_revision
)
ON CONFLICT DO NOTHING
