-- Appends what events did to goals; what is there already stays as it is. Times come in microseconds.
INSERT INTO evaluations (
    tenant_id, user_id, event_id, goal_id, period, evaluated_at, event_type, source, occurred_at,
    challenge_id, rule_version, progress_before, progress_after, status_before, status, decision
)
SELECT
    n.tenant_id, n.user_id, n.event_id, n.goal_id, n.period,
    timestamptz 'epoch' + n.evaluated_at * interval '1 microsecond', n.event_type, n.source,
    timestamptz 'epoch' + n.occurred_at * interval '1 microsecond',
    n.challenge_id, n.rule_version, n.progress_before, n.progress_after, n.status_before, n.status, n.decision
FROM unnest(
    %(tenant_id)s::text[], %(user_id)s::text[], %(event_id)s::text[], %(goal_id)s::text[], %(period)s::text[],
    %(evaluated_at)s::bigint[], %(event_type)s::text[], %(source)s::text[], %(occurred_at)s::bigint[],
    %(challenge_id)s::text[], %(rule_version)s::int[], %(progress_before)s::numeric[],
    %(progress_after)s::numeric[], %(status_before)s::text[], %(status)s::text[], %(decision)s::text[]
) AS n (
    tenant_id, user_id, event_id, goal_id, period, evaluated_at, event_type, source, occurred_at,
    challenge_id, rule_version, progress_before, progress_after, status_before, status, decision
)
ON CONFLICT DO NOTHING
