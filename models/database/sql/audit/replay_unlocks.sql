-- Unlocks in an order that hangs on nothing but their keys, without processing times.
SELECT
    tenant_id, user_id, goal_id, period, challenge_id, rule_version, event_id, completed_at, event_type, source,
    occurred_at
FROM unlocks
ORDER BY tenant_id COLLATE "C", user_id COLLATE "C", goal_id COLLATE "C", period COLLATE "C"
