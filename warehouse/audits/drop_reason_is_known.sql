-- every drop_reason has its place in the funnel, so none is counted twice or not at all
select unit, sum(rows_dropped) as n_placed, any_value(n_dropped) as n_dropped
from marts.funnel
join (
    select 'problem' as unit, count(drop_reason) as n_dropped from marts.problems
    union all
    select 'trajectory' as unit, count(drop_reason) as n_dropped from marts.trajectories_scored
) using (unit)
group by unit
having sum(rows_dropped) <> any_value(n_dropped)
