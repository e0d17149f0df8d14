-- Every quota of a tenant or a key.
SELECT owner, events_per_second, bytes_per_day
FROM quotas
ORDER BY owner
