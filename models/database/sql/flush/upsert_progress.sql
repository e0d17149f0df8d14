-- Writes the newest state of many rows in one statement. Rows come sorted by key, so that two flushers lock them in
-- the same order; a row PostgreSQL already has in a newer version is left alone. Times come in microseconds.
INSERT INTO user_goal_progress AS t (
    tenant_id, user_id, goal_id, period, challenge_id, progress, status, completed_at,
    rule_version, operator, state, stamp, created_at, updated_at, reached_at, slots, is_part
)
SELECT
    n.tenant_id, n.user_id, n.goal_id, n.period, n.challenge_id, n.progress,
    CASE WHEN n.completed_at IS NULL THEN 'in_progress' ELSE 'completed' END,
    timestamptz 'epoch' + n.completed_at * interval '1 microsecond',
    n.rule_version, n.operator, n.state, n.stamp,
    timestamptz 'epoch' + n.created_at * interval '1 microsecond',
    timestamptz 'epoch' + n.updated_at * interval '1 microsecond',
    timestamptz 'epoch' + n.reached_at * interval '1 microsecond', n.slots, n.is_part
FROM unnest(
    %(tenant_id)s::text[], %(user_id)s::text[], %(goal_id)s::text[], %(period)s::text[], %(challenge_id)s::text[],
    %(progress)s::numeric[], %(completed_at)s::bigint[], %(rule_version)s::int[], %(operator)s::text[],
    %(state)s::jsonb[], %(stamp)s::bigint[], %(created_at)s::bigint[], %(updated_at)s::bigint[],
    %(reached_at)s::bigint[], %(slots)s::jsonb[], %(is_part)s::bool[]
) AS n (
    tenant_id, user_id, goal_id, period, challenge_id, progress, completed_at, rule_version, operator, state, stamp,
    created_at, updated_at, reached_at, slots, is_part
)
ON CONFLICT (tenant_id, user_id, goal_id, period) DO UPDATE SET
    challenge_id = excluded.challenge_id,
    progress = excluded.progress,
    status = excluded.status,
    completed_at = excluded.completed_at,
    rule_version = excluded.rule_version,
    operator = excluded.operator,
    state = excluded.state,
    stamp = excluded.stamp,
    updated_at = excluded.updated_at,
    reached_at = excluded.reached_at,
    slots = excluded.slots,
    is_part = excluded.is_part
WHERE excluded.stamp > t.stamp
