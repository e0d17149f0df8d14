-- The events of some users, user by user, in the order they were applied in. Times come as microseconds.
SELECT
    tenant_id, user_id, event_id, event_type, source, value, increment, payload::text AS payload, timezone,
    attributes::text AS attributes, rules_revision,
    (extract(epoch FROM occurred_at) * 1000000)::bigint AS occurred_at,
    (extract(epoch FROM accepted_at) * 1000000)::bigint AS accepted_at,
    (extract(epoch FROM applied_at) * 1000000)::bigint AS applied_at
FROM unnest(%(tenant_id)s::text[], %(user_id)s::text[]) WITH ORDINALITY AS wanted (tenant_id, user_id, position)
JOIN events AS e USING (tenant_id, user_id)
ORDER BY wanted.position, e.stamp, e.occurred_at, e.event_id
