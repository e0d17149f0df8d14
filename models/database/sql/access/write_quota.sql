-- An owner's quota, in place of the one it had.
INSERT INTO quotas (owner, events_per_second, bytes_per_day)
VALUES (%(owner)s, %(events_per_second)s, %(bytes_per_day)s)
ON CONFLICT (owner) DO UPDATE
SET
    events_per_second = excluded.events_per_second,
    bytes_per_day = excluded.bytes_per_day,
    updated_at = now()
