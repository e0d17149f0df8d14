-- Some users, drawn at random from all who have events or progress.
SELECT tenant_id, user_id
FROM (SELECT tenant_id, user_id FROM events UNION SELECT tenant_id, user_id FROM user_goal_progress) AS known
ORDER BY random()
LIMIT %(number)s
