-- Lets a key end after a length of time; one that ends sooner stays as it is.
UPDATE api_keys
SET expires_at = least(expires_at, now() + %(grace)s::interval)
WHERE key_id = %(key_id)s
