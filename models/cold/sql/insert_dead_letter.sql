-- Keeps aside what could not be processed, with its reason.
INSERT INTO dead_letters (kind, reason, tenant_id, user_id, shard, batch_id, event_ids, raw, error, attempts)
VALUES (
    %(kind)s, %(reason)s, %(tenant_id)s, %(user_id)s, %(shard)s, %(batch_id)s, %(event_ids)s::text[], %(raw)s,
    %(error)s, %(attempts)s
)
