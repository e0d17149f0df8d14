-- Records completions; the key lets each through once (promise P8). Times come in microseconds.
INSERT INTO unlocks (
    tenant_id, user_id, goal_id, period, challenge_id, rule_version, event_id, completed_at,
    event_type, source, occurred_at
)
SELECT
    n.tenant_id, n.user_id, n.goal_id, n.period, n.challenge_id, n.rule_version, n.event_id,
    timestamptz 'epoch' + n.completed_at * interval '1 microsecond',
    n.event_type, n.source, timestamptz 'epoch' + n.occurred_at * interval '1 microsecond'
FROM unnest(
    %(tenant_id)s::text[], %(user_id)s::text[], %(goal_id)s::text[], %(period)s::text[], %(challenge_id)s::text[],
    %(rule_version)s::int[], %(event_id)s::text[], %(completed_at)s::bigint[],
    %(event_type)s::text[], %(source)s::text[], %(occurred_at)s::bigint[]
) AS n (
    tenant_id, user_id, goal_id, period, challenge_id, rule_version, event_id, completed_at,
    event_type, source, occurred_at
)
ON CONFLICT DO NOTHING
