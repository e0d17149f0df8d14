-- A user's attributes as a whole; its row stays locked until the transaction ends.
INSERT INTO user_attributes AS t (tenant_id, user_id, attributes, updated_at)
VALUES (%(tenant_id)s, %(user_id)s, %(attributes)s::jsonb, clock_timestamp())
ON CONFLICT (tenant_id, user_id) DO UPDATE
SET attributes = excluded.attributes, updated_at = excluded.updated_at
