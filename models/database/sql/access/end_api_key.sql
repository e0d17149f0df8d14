-- Lets a key that was rotated end after a length of time; one that ends sooner stays as it is.
UPDATE api_keys
SET expires_at = least(expires_at, now() + %(grace)s::interval), replaced_by = %(replaced_by)s
WHERE key_id = %(key_id)s
