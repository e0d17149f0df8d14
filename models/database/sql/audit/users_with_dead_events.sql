-- Those of some users whose accepted events PostgreSQL refused: the log does not have all that was applied to them.
SELECT DISTINCT tenant_id, user_id
FROM unnest(%(tenant_id)s::text[], %(user_id)s::text[]) AS wanted (tenant_id, user_id)
JOIN dead_letters USING (tenant_id, user_id)
WHERE kind = 'event'
