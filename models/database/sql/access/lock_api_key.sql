-- One key, which no other transaction changes until the transaction ends, and whether it is valid now.
SELECT
    *,
    revoked_at IS NOT NULL AS is_revoked,
    coalesce(expires_at <= now(), FALSE) AS is_expired
FROM api_keys
WHERE key_id = %(key_id)s
FOR UPDATE
