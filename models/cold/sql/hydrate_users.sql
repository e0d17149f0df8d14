-- All that cold users of a batch need, in one statement: their rows, and the ids of their events of the dedup window.
-- Events carry their partition key in the condition, so that only the window's partitions are touched.
WITH cold AS (
    SELECT tenant_id, user_id, place
    FROM unnest(%(tenant_id)s::text[], %(user_id)s::text[]) WITH ORDINALITY AS c (tenant_id, user_id, place)
)
SELECT
    cold.place, p.goal_id, p.period, p.challenge_id, p.operator, p.rule_version, p.stamp, p.completed_at,
    p.created_at, p.updated_at, p.state, NULL::text[] AS event_ids
FROM cold
JOIN user_goal_progress AS p USING (tenant_id, user_id)
WHERE p.period = '' OR p.period >= %(oldest_period)s
UNION ALL
SELECT
    cold.place, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, array_agg(e.event_id)
FROM cold
JOIN events AS e USING (tenant_id, user_id)
WHERE e.accepted_at >= %(accepted_since)s AND e.occurred_at >= %(occurred_since)s
GROUP BY cold.place
