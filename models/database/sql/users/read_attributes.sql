-- The attributes of users, given as two arrays of one length.
SELECT found.tenant_id, found.user_id, found.attributes
FROM unnest(%(tenant_id)s::text[], %(user_id)s::text[]) AS wanted (tenant_id, user_id)
JOIN user_attributes AS found USING (tenant_id, user_id)
