-- Adds a key. It expires a length of time after now, by PostgreSQL's clock; never where there is none.
INSERT INTO api_keys (key_id, tenant_id, scope, secret_hash, note, rate_limit, expires_at)
VALUES (
    %(key_id)s, %(tenant_id)s, %(scope)s, %(secret_hash)s, %(note)s, %(rate_limit)s, now() + %(lifetime)s::interval
)
RETURNING *
