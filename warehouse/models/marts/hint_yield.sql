-- marts.hint_yield: how often a wrong baseline became right, by what was said and where.
-- grain:   one row per hint function, cut, trigger and round
-- reads:   staging.trajectories, marts.trajectories_scored
-- why:     placement and wording decide whether hints work; this is where to see it before paying for more. What became
--          of a trajectory is put down to its last hint: before it, it was still wrong.
select
    t.hints[-1].function as hint_function,
    t.hints[-1].cut as cut,
    t.hints[-1].trigger as trigger,
    t.hints[-1].round as round,
    count(*) as n_tried,
    count(*) filter (where s.is_correct) as n_right,
    round(count(*) filter (where s.is_correct) / nullif(count(s.is_correct), 0), 3) as share_right,  -- of those judged
    count(*) filter (where s.n_tool_success > 0) as n_with_tool_success,
    count(*) filter (where s.drop_reason is null or r.parent_id is not null) as n_selected
from staging.trajectories as t
join marts.trajectories_scored as s on s.trajectory_id = t.trajectory_id
left join marts.trajectories_scored as r on r.parent_id = t.trajectory_id and r.is_repaired and r.drop_reason is null
where not t.is_repaired and len(t.hints) > 0
group by all
order by share_right desc nulls last, n_tried desc, hint_function, cut, trigger
