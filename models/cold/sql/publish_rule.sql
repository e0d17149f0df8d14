-- Adds a version of a goal if its meaning differs from the newest one. Runs under the publication lock.
INSERT INTO rule_versions (goal_id, version, digest, definition)
SELECT %(goal_id)s, coalesce(max(version), 0) + 1, %(digest)s, %(definition)s::jsonb
FROM rule_versions
WHERE goal_id = %(goal_id)s
HAVING coalesce((array_agg(digest ORDER BY version DESC))[1] <> %(digest)s, true)
