-- Keeps aside what could not be processed, with its reason. What failed before in the same way is one dead letter.
INSERT INTO dead_letters AS known (
    kind, reason, tenant_id, user_id, shard, batch_id, event_ids, raw, error, attempts, task, exception, traceback,
    fingerprint
)
VALUES (
    %(kind)s, %(reason)s, %(tenant_id)s, %(user_id)s, %(shard)s, %(batch_id)s, %(event_ids)s::text[], %(raw)s,
    %(error)s, %(attempts)s, %(task)s, %(exception)s, %(traceback)s, %(fingerprint)s
)
ON CONFLICT (fingerprint) DO UPDATE SET
    attempts = known.attempts + excluded.attempts,
    error = excluded.error,
    exception = excluded.exception,
    traceback = excluded.traceback,
    last_seen = now()
