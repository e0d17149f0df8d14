-- The unlocks of some users, given as two arrays of one length.
SELECT tenant_id, user_id, goal_id, period
FROM unnest(%(tenant_id)s::text[], %(user_id)s::text[]) AS wanted (tenant_id, user_id)
JOIN unlocks USING (tenant_id, user_id)
