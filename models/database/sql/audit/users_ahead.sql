-- Users with rows above a version, each with the highest. No index has the versions: one look at all rows, for a reset.
SELECT tenant_id, user_id, max(stamp) AS version
FROM user_goal_progress
WHERE stamp > %(version)s
GROUP BY tenant_id, user_id
