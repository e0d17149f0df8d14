-- The event log, user by user, each user's events in the order they were applied in. The keys of the daily partitions
-- have the users in order already, so only one user's events are sorted at a time. Times come as microseconds.
SELECT
    tenant_id, user_id, event_id, event_type, source, value, increment, payload::text AS payload, timezone,
    attributes::text AS attributes, rules_revision,
    (extract(epoch FROM occurred_at) * 1000000)::bigint AS occurred_at,
    (extract(epoch FROM accepted_at) * 1000000)::bigint AS accepted_at,
    (extract(epoch FROM applied_at) * 1000000)::bigint AS applied_at
FROM events AS e
WHERE (%(since)s::timestamptz IS NULL OR e.occurred_at >= %(since)s::timestamptz)
    AND (%(until)s::timestamptz IS NULL OR e.occurred_at < %(until)s::timestamptz)
ORDER BY e.tenant_id, e.user_id, e.stamp, e.occurred_at, e.event_id
