-- marts.problems: every problem of the run, how far it came, and why it stopped there.
-- grain:   one row per problem_id
-- reads:   staging.problems, intermediate.problems_marked, marts.trajectories_scored
-- params:  $needs_baseline  whether a problem without trajectories lacked a place for a hint (D_seed)
-- why:     the question asked most is "what became of this problem?".
with tried as (
    select
        problem_id,
        count(*) filter (where not is_repaired) as n_tried,
        count(*) filter (where is_correct and not is_repaired) as n_correct,
        max(trajectory_id) filter (where drop_reason is null) as selected_trajectory_id
    from marts.trajectories_scored
    group by problem_id
)

select
    p.problem_id,
    p.position,
    p.domain,
    p.source,
    p.statement,
    p.gold_answer,
    m.gold_detail,  -- what the gold check said, empty where it said nothing but yes
    m.duplicate_of,
    m.baseline_trajectory_id,
    coalesce(t.n_tried, 0) as n_tried,
    coalesce(t.n_correct, 0) as n_correct,
    t.selected_trajectory_id,
    coalesce(m.drop_reason, case when $needs_baseline and t.problem_id is null then 'no_cut' end) as drop_reason
from staging.problems as p
join intermediate.problems_marked as m on m.problem_id = p.problem_id
left join tried as t on t.problem_id = p.problem_id
