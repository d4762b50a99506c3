-- marts.tool_health: how executions ended.
-- grain:   one row per status and error type
-- reads:   staging.trajectories
-- why:     a rising share of one error points at a hint, a prompt or a limit that needs work.
with calls as (
    select c.status, coalesce(c.error_type, '') as error_type, c.wall_ms, c.output_truncated
    from staging.trajectories as t
    cross join unnest(t.tool_calls) as u (c)
    where not t.is_repaired
)

select
    status,
    error_type,
    count(*) as n_calls,
    round(count(*) / sum(count(*)) over (), 3) as share,
    round(median(wall_ms), 1) as median_wall_ms,
    count(*) filter (where output_truncated) as n_truncated
from calls
group by status, error_type
order by n_calls desc, status, error_type
