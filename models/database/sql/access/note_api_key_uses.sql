-- When keys were last used, given as two arrays of one length; several receivers may say so of one key.
UPDATE api_keys
SET last_used_at = greatest(last_used_at, used.at)
FROM unnest(%(key_id)s::text[], %(used_at)s::timestamptz[]) AS used (key_id, at)
WHERE api_keys.key_id = used.key_id
