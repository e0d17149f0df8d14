-- A user's rows that the API may show: those without periods and those of recent periods.
SELECT
    goal_id, period, challenge_id, operator, rule_version, stamp AS record_version,
    completed_at, created_at, updated_at, state, reached_at, slots AS version_states, is_part
FROM user_goal_progress
WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s
    AND CASE length(period)
        WHEN 10 THEN period >= %(oldest_day)s
        WHEN 8 THEN period >= %(oldest_week)s
        WHEN 7 THEN period >= %(oldest_month)s
        ELSE true
    END
