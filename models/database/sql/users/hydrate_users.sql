-- All that cold users of a batch need, in one statement: their rows, and the ids of their events of the dedup window.
-- Each user is looked up by key: joined as a whole, the planner would rather read all events of the window.
-- Events carry their partition key in the condition, so that only the window's partitions are touched.
WITH cold AS (
    SELECT tenant_id, user_id, position
    FROM unnest(%(tenant_id)s::text[], %(user_id)s::text[]) WITH ORDINALITY AS c (tenant_id, user_id, position)
)
SELECT
    cold.position, p.goal_id, p.period, p.challenge_id, p.operator, p.rule_version, p.stamp AS record_version,
    p.completed_at, p.created_at, p.updated_at, p.state, p.reached_at, p.slots AS version_states, p.is_part, NULL::text[] AS event_ids
FROM cold
CROSS JOIN LATERAL (
    SELECT *
    FROM user_goal_progress AS t
    WHERE t.tenant_id = cold.tenant_id AND t.user_id = cold.user_id
        AND CASE length(t.period)
            WHEN 10 THEN t.period >= %(oldest_day)s
            WHEN 8 THEN t.period >= %(oldest_week)s
            WHEN 7 THEN t.period >= %(oldest_month)s
            ELSE true
        END
    OFFSET 0 -- keeps the planner from turning this into a join again
) AS p
UNION ALL
SELECT
    cold.position, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, e.event_ids
FROM cold
CROSS JOIN LATERAL (
    SELECT array_agg(t.event_id) AS event_ids
    FROM events AS t
    WHERE t.tenant_id = cold.tenant_id AND t.user_id = cold.user_id
        AND t.applied_at >= %(applied_since)s AND t.occurred_at >= %(occurred_since)s
) AS e
WHERE e.event_ids IS NOT NULL
