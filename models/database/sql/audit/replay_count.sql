-- How many events there are of a stretch of time.
SELECT count(*)
FROM events AS e
WHERE (%(since)s::timestamptz IS NULL OR e.occurred_at >= %(since)s::timestamptz)
    AND (%(until)s::timestamptz IS NULL OR e.occurred_at < %(until)s::timestamptz)
