-- Ends a key at once. The row stays, so that the installation goes on asking for keys.
UPDATE api_keys
SET revoked_at = coalesce(revoked_at, now())
WHERE key_id = %(key_id)s
RETURNING *
