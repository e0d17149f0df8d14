-- Rows of progress in an order that hangs on nothing but their keys, without stamps and processing times.
SELECT
    tenant_id, user_id, goal_id, period, challenge_id, progress::text, status, completed_at, rule_version, operator,
    state::text, reached_at, slots::text, is_part
FROM user_goal_progress
ORDER BY tenant_id COLLATE "C", user_id COLLATE "C", goal_id COLLATE "C", period COLLATE "C"
