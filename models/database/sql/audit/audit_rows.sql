-- The rows of progress of some users, given as two arrays of one length.
SELECT
    tenant_id, user_id, goal_id, period, challenge_id, progress, status, rule_version, operator, state, slots, is_part,
    reached_at, completed_at, created_at, updated_at, stamp AS record_version
FROM unnest(%(tenant_id)s::text[], %(user_id)s::text[]) AS wanted (tenant_id, user_id)
JOIN user_goal_progress USING (tenant_id, user_id)
