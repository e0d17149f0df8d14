-- The newest version of each of these goals.
SELECT goal_id, max(version) AS version
FROM rule_versions
WHERE goal_id = ANY (%(goal_id)s::text[])
GROUP BY goal_id
