-- Every key there ever was, the oldest first.
SELECT key_id, tenant_id, scope, secret_hash, note, rate_limit, created_at, expires_at, revoked_at, last_used_at
FROM api_keys
ORDER BY created_at, key_id
