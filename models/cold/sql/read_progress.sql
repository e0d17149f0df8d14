-- A user's rows that the API may show: those without periods and those of recent periods.
SELECT
    goal_id, period, challenge_id, operator, rule_version, stamp, completed_at, created_at, updated_at, state
FROM user_goal_progress
WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s AND (period = '' OR period >= %(oldest_period)s)
