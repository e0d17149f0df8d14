-- Users with progress or unlocks, but without a single event.
SELECT tenant_id, user_id
FROM (SELECT tenant_id, user_id FROM user_goal_progress UNION SELECT tenant_id, user_id FROM unlocks) AS known
WHERE NOT EXISTS (
    SELECT FROM events AS e WHERE e.tenant_id = known.tenant_id AND e.user_id = known.user_id
)
