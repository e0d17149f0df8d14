-- Deletes rows that should not exist, each only as long as it is the one that was looked at.
DELETE FROM user_goal_progress AS t
USING unnest(
    %(tenant_id)s::text[], %(user_id)s::text[], %(goal_id)s::text[], %(period)s::text[], %(record_version)s::bigint[]
) AS n (tenant_id, user_id, goal_id, period, record_version)
WHERE t.tenant_id = n.tenant_id AND t.user_id = n.user_id AND t.goal_id = n.goal_id AND t.period = n.period
    AND t.stamp = n.record_version
