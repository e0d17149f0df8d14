-- Events get the newest publication that their worker should have known; one that was changed since stays as it is.
UPDATE events AS e
SET rules_revision = n.expected
FROM unnest(
    %(tenant_id)s::text[], %(user_id)s::text[], %(event_id)s::text[], %(occurred_at)s::bigint[], %(found)s::int[],
    %(expected)s::int[]
) AS n (tenant_id, user_id, event_id, occurred_at, found, expected)
WHERE e.tenant_id = n.tenant_id AND e.user_id = n.user_id AND e.event_id = n.event_id
    AND e.occurred_at = timestamptz 'epoch' + n.occurred_at * interval '1 microsecond'
    AND e.rules_revision = n.found
